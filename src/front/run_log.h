/* A line of the log for each run: who, how it ended, what it cost; never what it was. */
#ifndef VIVARY_FRONT_RUN_LOG_H
#define VIVARY_FRONT_RUN_LOG_H

#include "front/report.h"

void run_log(const struct front *front, const struct call *call, enum run_status status, const struct run_usage *usage);

/* Keeps what a request says of itself, if it is as it should be: X-Request-Id, and W3C's traceparent. Else what is kept is empty. */
void request_id_keep(char to[static REQUEST_ID_ROOM], const char *text);
void traceparent_keep(char to[static TRACEPARENT_ROOM], const char *text);

#endif
