#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The one static of each process besides its context struct: a log that needed an argument would not be called where it matters. */
static struct {
    const char *process;
    uint64_t second;
    unsigned written[2], dropped; /* written: of what is wrong, and of what is not, so that no run's line keeps an error out */
    bool json, quiet;
} log_state = { .process = "vivary" };

void log_start(const char *process)
{
    const char *format = getenv("LOG_OF_VIVARY");
    log_state.process = process;
    log_state.json = format != NULL && strcmp(format, "json") == 0;
    log_state.quiet = format != NULL && strcmp(format, "quiet") == 0;
}

/* Whether a space ends a value: a path may have one within. */
static bool name_follows(const char *at)
{
    size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
    return length > 0 && at[length] == '=';
}

/* Writes `key=value key=value` as an object of strings. */
static size_t line_to_json(const char *line, char *to, size_t size)
{
    size_t used = 0;
    bool in_value = false;
    to[used++] = '{';
    to[used++] = '"';
    for (const char *at = line; *at != '\0' && used < size - 16; at++) {
        if (*at == '=' && !in_value) {
            in_value = true;
            memcpy(to + used, "\": \"", 4);
            used += 4;
        } else if (*at == ' ' && name_follows(at + 1)) {
            in_value = false;
            memcpy(to + used, "\", \"", 4);
            used += 4;
        } else if (*at == '"' || *at == '\\') {
            to[used++] = '\\';
            to[used++] = *at;
        } else if ((unsigned char)*at >= 0x20) {
            to[used++] = *at;
        }
    }
    to[used++] = '"';
    to[used++] = '}';
    return used;
}

void log_line(const char *level, const char *event, const char *format, ...)
{
    uint64_t second = clock_ns() / NS_PER_S;
    if (second != log_state.second) {
        log_state.second = second;
        log_state.written[0] = log_state.written[1] = 0;
    }
    if (log_state.quiet && strcmp(level, "info") == 0)
        return;
    unsigned *written = &log_state.written[strcmp(level, "info") == 0];
    if (*written >= LOG_BURST) {
        log_state.dropped++;
        return;
    }
    ++*written;

    char line[768];
    int used = snprintf(line, sizeof line, "level=%s process=%s event=%s", level, log_state.process, event);
    if (log_state.dropped > 0)
        used += snprintf(line + used, sizeof line - (size_t)used, " dropped=%u", log_state.dropped);
    log_state.dropped = 0;
    if (format[0] != '\0') {
        va_list arguments;
        va_start(arguments, format);
        used += snprintf(line + used, sizeof line - (size_t)used, " ");
        used += vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
        va_end(arguments);
    }
    if ((size_t)used > sizeof line - 2)
        used = (int)sizeof line - 2;
    char json[2 * sizeof line];
    if (log_state.json) {
        size_t length = line_to_json(line, json, sizeof json);
        json[length] = '\n';
        if (write(STDERR_FILENO, json, length + 1) < 0)
            return; /* nobody is left to tell */
        return;
    }
    line[used] = '\n';
    if (write(STDERR_FILENO, line, (size_t)used + 1) < 0)
        return; /* nobody is left to tell */
}

void log_fault(const char *event, const struct fault *why)
{
    const char *name = strerrorname_np(why->error);
    log_line("error", event, "call=%s object=%s errno=%s", why->call, why->object, name != NULL ? name : "0");
}
