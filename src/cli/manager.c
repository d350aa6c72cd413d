#include "cli/manager.h"

#include "base/descriptor.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void manager_tell(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0'; /* an abstract one */
    OWN_FD fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd >= 0 && sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, length) < 0)
        perror("vivary: telling the service manager");
}

static unsigned long long variable_number(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] >= '0' && value[0] <= '9' ? strtoull(value, NULL, 10) : 0;
}

/* Meant for this process, and not for one that it was started by. */
static int is_ours(const char *pid)
{
    return getenv(pid) == NULL || variable_number(pid) == (unsigned long long)getpid();
}

uint32_t manager_watchdog_ms(void)
{
    unsigned long long us = is_ours("WATCHDOG_PID") ? variable_number("WATCHDOG_USEC") : 0;
    return (uint32_t)(us / 1000 / 2); /* half of its patience, as the manual advises */
}

uint32_t manager_sockets(void)
{
    return getenv("LISTEN_PID") != NULL && is_ours("LISTEN_PID") ? (uint32_t)variable_number("LISTEN_FDS") : 0;
}
