/* The service's log: one line per event on stderr, `level=… event=… key=value…`, or the same as JSON where the environment has
 * LOG_OF_VIVARY=json; with `quiet` there, lines of level info are left out. A value has no white space. */
#ifndef VIVARY_BASE_LOG_H
#define VIVARY_BASE_LOG_H

#include "base/fault.h"

/* At most LOG_BURST lines a second per process of level info, and as many of the others, since strangers can cause log lines; what is
 * dropped is counted in the next line. */
enum { LOG_BURST = 50 };

void log_start(const char *process); /* names the process in each line; the string must live on */
void log_line(const char *level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));
void log_fault(const char *event, const struct fault *why); /* level error: call, object, errno by name */

#endif
