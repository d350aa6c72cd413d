#include "front/run_log.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

static const char WORD[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

void request_id_keep(char to[static REQUEST_ID_ROOM], const char *text)
{
    size_t length = text != NULL ? strlen(text) : 0;
    bool fits = length > 0 && length < REQUEST_ID_ROOM && strspn(text, WORD) == length;
    snprintf(to, REQUEST_ID_ROOM, "%s", fits ? text : "");
}

/* 00-<32 digits>-<16 digits>-<2 digits>, in lower case: Trace Context, 3.2. */
void traceparent_keep(char to[static TRACEPARENT_ROOM], const char *text)
{
    bool fits = text != NULL && strlen(text) == TRACEPARENT_ROOM - 1 && strncmp(text, "00-", 3) == 0;
    for (size_t i = 3; fits && i < TRACEPARENT_ROOM - 1; i++)
        fits = i == 35 || i == 52 ? text[i] == '-' : strchr("0123456789abcdef", text[i]) != NULL;
    /* All zeros are no trace, and no parent: 3.2.2.3 and 3.2.2.4. */
    fits = fits && strspn(text + 3, "0") < 32 && strspn(text + 36, "0") < 16;
    snprintf(to, TRACEPARENT_ROOM, "%s", fits ? text : "");
}

void run_log(const struct front *front, const struct call *call, enum run_status status, const struct run_usage *usage)
{
    uint64_t now = clock_ns();
    char ids[REQUEST_ID_ROOM + TRACEPARENT_ROOM + 48] = "", used[128] = "";
    (void)front;
    if (call->request_id[0] != '\0')
        snprintf(ids, sizeof ids, " request_id=%s", call->request_id);
    if (call->traceparent[0] != '\0')
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), " traceparent=%s", call->traceparent);
    if (usage != NULL)
        snprintf(used, sizeof used, " user_ms=%llu system_ms=%llu memory_peak_kb=%llu faults=%llu",
                 (unsigned long long)usage->user_us / 1000, (unsigned long long)usage->system_us / 1000,
                 (unsigned long long)usage->memory_peak >> 10, (unsigned long long)usage->faults);
    log_line("info", "run", "id=%s path=%s key=%s status=%s queue_ms=%llu wall_ms=%llu%s%s", call->id,
             call->kind == CALL_RUN ? "run" : "execute", call->caller->key.name[0] != '\0' ? call->caller->key.name : "-",
             run_status_name(status), (unsigned long long)(call->started_ns - call->queued_ns) / NS_PER_MS,
             (unsigned long long)(now - call->started_ns) / NS_PER_MS, used, ids);
}
