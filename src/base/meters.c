#include "base/meters.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t meter_text(int file, char *text, size_t size)
{
    ssize_t got = file < 0 ? -1 : pread(file, text, size - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    return got;
}

uint64_t meter_number(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ' ')
            return strtoull(line + length, NULL, 10);
    return 0;
}

void meters_read(const int files[static METERS], uint32_t version, struct meters *ret_meters)
{
    char text[1024];
    *ret_meters = (struct meters) { 0 };
    if (meter_text(files[METER_TIME], text, sizeof text) > 0) {
        ret_meters->known |= METERS_TIME;
        ret_meters->time_us = version == 1 ? strtoull(text, NULL, 10) / 1000 : meter_number(text, "usage_usec");
        ret_meters->system_us = version == 1 ? 0 : meter_number(text, "system_usec");
    }
    if (meter_text(files[METER_SYSTEM], text, sizeof text) > 0)
        ret_meters->system_us = strtoull(text, NULL, 10) / 1000;
    if (meter_text(files[METER_MEMORY], text, sizeof text) > 0) {
        ret_meters->known |= METERS_MEMORY;
        ret_meters->memory_peak = strtoull(text, NULL, 10);
    }
}

static uint64_t difference(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

void meters_since(const struct meters *before, const struct meters *now, uint64_t *ret_user_us, uint64_t *ret_system_us)
{
    uint64_t sum = difference(now->time_us, before->time_us), system = difference(now->system_us, before->system_us);
    *ret_system_us = system < sum ? system : sum;
    *ret_user_us = sum - *ret_system_us;
}
