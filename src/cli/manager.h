/* A service manager, if one started this process: systemd's protocols, which are a datagram and a few variables. libsystemd would bring
 * more than all of Vivary. */
#ifndef VIVARY_CLI_MANAGER_H
#define VIVARY_CLI_MANAGER_H

#include <stdint.h>

/* Tells it a state, "READY=1": sd_notify(3). Nothing happens where there is none. */
void manager_tell(const char *state);

/* How often it wants to hear "WATCHDOG=1", in ms; 0: never. sd_watchdog_enabled(3). */
uint32_t manager_watchdog_ms(void);

/* Listening sockets that it has opened, at descriptors 3 and up: sd_listen_fds(3). How many. */
uint32_t manager_sockets(void);

#endif
