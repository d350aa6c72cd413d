#include "settings/address.h"

#include "base/descriptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BACKLOG = 1024 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

static int address_fail(char error[static 256], const char *text, const char *what)
{
    snprintf(error, 256, "can't listen on '%.100s': %s", text, what);
    return -1;
}

/* A socket file left by a service that was killed is removed; one that somebody answers on is not. */
static int stale_remove(const union address *address, socklen_t length)
{
    struct stat there;
    if (lstat(address->local.sun_path, &there) < 0 || !S_ISSOCK(there.st_mode))
        return 0;
    /* Nonblocking: while the other's queue is full, connect would wait. */
    OWN_FD probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe >= 0 && connect(probe, &address->any, length) < 0 && errno == ECONNREFUSED)
        return unlink(address->local.sun_path);
    return 0;
}

static int address_parse(const char *text, union address *ret_address, socklen_t *ret_length, char error[static 256])
{
    static const char FORM[] = "ADDR:PORT, [ADDR6]:PORT or unix:/path is expected, ADDR by number";
    union address address = { 0 };
    if (strncmp(text, "unix:", 5) == 0) {
        if (text[5] != '/' || strlen(text + 5) >= sizeof address.local.sun_path)
            return address_fail(error, text, "the path must be absolute, and shorter than 108 bytes");
        address.local.sun_family = AF_UNIX;
        snprintf(address.local.sun_path, sizeof address.local.sun_path, "%s", text + 5);
        *ret_length = sizeof address.local;
        *ret_address = address;
        return 0;
    }
    char host[64];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host || colon[1] < '0' || colon[1] > '9')
        return address_fail(error, text, FORM);
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port > 65535)
        return address_fail(error, text, "a port is a number up to 65535");
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    size_t length = strlen(host);
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons((uint16_t)port);
        if (inet_pton(AF_INET6, host + 1, &address.v6.sin6_addr) != 1)
            return address_fail(error, text, FORM);
        *ret_length = sizeof address.v6;
    } else {
        const char *number = length == 0 ? "0.0.0.0" : strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, number, &address.v4.sin_addr) != 1)
            return address_fail(error, text, FORM);
        *ret_length = sizeof address.v4;
    }
    *ret_address = address;
    return 0;
}

static void address_show(int fd, const char *text, char *to, size_t size)
{
    union address address = { 0 };
    socklen_t length = sizeof address;
    char number[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, &address.any, &length) < 0 || (address.any.sa_family == AF_UNIX && address.local.sun_path[0] == '\0'))
        snprintf(to, size, "%s", text);
    else if (address.any.sa_family == AF_UNIX)
        snprintf(to, size, "unix:%.107s", address.local.sun_path);
    else if (address.any.sa_family == AF_INET)
        snprintf(to, size, "%s:%u", inet_ntop(AF_INET, &address.v4.sin_addr, number, sizeof number), ntohs(address.v4.sin_port));
    else
        snprintf(to, size, "[%s]:%u", inet_ntop(AF_INET6, &address.v6.sin6_addr, number, sizeof number), ntohs(address.v6.sin6_port));
}

int address_listen(const char *text, int *ret_fd, char *ret_shown, size_t shown_size, char error[static 256])
{
    union address address = { 0 };
    socklen_t length = 0;
    if (address_parse(text, &address, &length, error) < 0)
        return -1;
    OWN_FD fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    if (fd < 0)
        return address_fail(error, text, strerror(errno));
    if (address.any.sa_family == AF_UNIX)
        stale_remove(&address, length);
    else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
        return address_fail(error, text, strerror(errno));
    if (address.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one); /* [::] beside 0.0.0.0 is then no conflict */
    if (bind(fd, &address.any, length) < 0 || listen(fd, BACKLOG) < 0)
        return address_fail(error, text, strerror(errno));
    address_show(fd, text, ret_shown, shown_size);
    *ret_fd = fd_take(&fd);
    return 0;
}

int address_adopt(int fd, char *ret_shown, size_t shown_size, char error[static 256])
{
    int listens = 0, type = 0;
    socklen_t size = sizeof listens;
    char name[32];
    snprintf(name, sizeof name, "descriptor %d", fd);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return address_fail(error, name, strerror(errno));
    if (!listens || type != SOCK_STREAM)
        return address_fail(error, name, "it isn't a listening stream socket");
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return address_fail(error, name, strerror(errno));
    address_show(fd, name, ret_shown, shown_size);
    return 0;
}

int address_connect(const char *text, unsigned ms, int *ret_fd, char error[static 256])
{
    union address address = { 0 };
    socklen_t length = 0;
    if (address_parse(text, &address, &length, error) < 0)
        return -1;
    if (address.any.sa_family == AF_INET && address.v4.sin_addr.s_addr == htonl(INADDR_ANY))
        address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (address.any.sa_family == AF_INET6 && memcmp(&address.v6.sin6_addr, &in6addr_any, sizeof in6addr_any) == 0)
        address.v6.sin6_addr = in6addr_loopback;
    OWN_FD fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = { .tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000 };
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 || connect(fd, &address.any, length) < 0) {
        snprintf(error, 256, "can't connect to '%.100s': %s", text, strerror(errno));
        return -1;
    }
    *ret_fd = fd_take(&fd);
    return 0;
}
