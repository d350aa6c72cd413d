/* `vivary health`: asks a running service whether it answers, for a container's health check, so that nothing else has to be installed. */
#include "cli/health.h"

#include "base/descriptor.h"
#include "settings/address.h"
#include "settings/option.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { PATIENCE_MS = 5000 };

int health_main(int argc, char **argv)
{
    static const char ASK[] = "GET /healthz HTTP/1.0\r\n\r\n";
    static struct settings settings;
    char error[256], answer[64] = "";
    int r = settings_from_arguments(&settings, argc, argv);
    if (r != 0)
        return r < 0 ? 0 : r;
    int fd = -1;
    if (address_connect(settings.listen[0], PATIENCE_MS, &fd, error) < 0) {
        fprintf(stderr, "vivary: %s\n", error);
        return 1;
    }
    OWN_FD connection = fd;
    size_t have = 0;
    ssize_t got = send(connection, ASK, sizeof ASK - 1, MSG_NOSIGNAL) == sizeof ASK - 1 ? 1 : -1;
    while (got > 0 && have < sizeof answer - 1 && (got = recv(connection, answer + have, sizeof answer - 1 - have, 0)) > 0)
        have += (size_t)got;
    if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0 && strncmp(answer, "HTTP/1.0 200 ", 13) != 0) {
        fprintf(stderr, "vivary: %s answers %s\n", settings.listen[0], have > 0 ? "something but 200" : "nothing");
        return 1;
    }
    puts("ok");
    return 0;
}
