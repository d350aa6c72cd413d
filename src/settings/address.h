/* Where the service listens. */
#ifndef VIVARY_SETTINGS_ADDRESS_H
#define VIVARY_SETTINGS_ADDRESS_H

#include <stddef.h>

/* Makes a listening, nonblocking, close-on-exec socket of "ADDR:PORT", "[ADDR6]:PORT" or "unix:/path". `ret_shown` gets the address with
 * the real port. 0, or -1 with a sentence in `error`. */
int address_listen(const char *text, int *ret_fd, char *ret_shown, size_t shown_size, char error[static 256]);

/* Takes over a socket that a service manager has opened: sd_listen_fds(3). It must listen, for a stream. As above. */
int address_adopt(int fd, char *ret_shown, size_t shown_size, char error[static 256]);

/* Connects to who listens there; to an address that means all of them, on this machine. Both ways wait at most `ms`. 0, or -1 as above. */
int address_connect(const char *text, unsigned ms, int *ret_fd, char error[static 256]);

#endif
