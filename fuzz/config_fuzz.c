/* A configuration file of any bytes: it sets options, or is refused with the file's name and a line. */
#include "settings/file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct settings settings;
    char path[64], error[OPTION_ERROR_MAX] = "";
    int fd = memfd_create("config", MFD_CLOEXEC);
    if (fd < 0)
        return 0;
    if (write(fd, data, size) == (ssize_t)size) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        memset(&settings, 0, sizeof settings);
        settings_default(&settings);
        if (settings_from_file(&settings, path, error) < 0 && (error[0] == '\0' || memchr(error, 0, sizeof error) == NULL)) {
            fprintf(stderr, "broken: a refused file has a reason\n");
            abort();
        }
    }
    close(fd);
    return 0;
}
