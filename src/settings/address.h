/* Where the service listens. */
#ifndef VIVARY_SETTINGS_ADDRESS_H
#define VIVARY_SETTINGS_ADDRESS_H

#include <stddef.h>

/* Makes a listening, nonblocking, close-on-exec socket of "ADDR:PORT", "[ADDR6]:PORT" or "unix:/path". `ret_shown` gets the address with
 * the real port. 0, or -1 with a sentence in `error`. */
int address_listen(const char *text, int *ret_fd, char *ret_shown, size_t shown_size, char error[static 256]);

#endif
