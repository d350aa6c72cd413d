#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The one static of each process besides its context struct: a log that needed an argument would not be called where it matters. */
static struct {
    const char *process;
    uint64_t second;
    unsigned written, dropped;
} log_state = { .process = "vivary" };

void log_start(const char *process)
{
    log_state.process = process;
}

void log_line(const char *level, const char *event, const char *format, ...)
{
    uint64_t second = clock_ns() / NS_PER_S;
    if (second != log_state.second) {
        log_state.second = second;
        log_state.written = 0;
    }
    if (log_state.written >= LOG_BURST) {
        log_state.dropped++;
        return;
    }
    log_state.written++;

    char line[512];
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
    line[used] = '\n';
    if (write(STDERR_FILENO, line, (size_t)used + 1) < 0)
        return; /* nobody is left to tell */
}

void log_fault(const char *event, const struct fault *why)
{
    const char *name = strerrorname_np(why->error);
    log_line("error", event, "call=%s object=%s errno=%s", why->call, why->object, name != NULL ? name : "0");
}
