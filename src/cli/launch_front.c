/* Starting a front: its plan, which tells it of all runtimes; and its keys. */
#include "cli/launch.h"
#include "cli/launch_parts.h"

#include "base/descriptor.h"
#include "cli/level.h"
#include "settings/keys.h"
#include "settings/option.h"
#include "wire/front_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { KEYS_TEXT_MAX = 16 << 20 };

/* "numpy 1.24.2, pandas 1.5.3" as members of a JSON object. Names and versions of packages need no escapes. */
static void packages_json(const char *packages, char *to, size_t size)
{
    size_t used = 0;
    to[0] = '\0';
    while (*packages != '\0' && used < size) {
        size_t name = strcspn(packages, " ,"), version = strcspn(packages, ",");
        const char *number = packages[name] == ' ' ? packages + name + 1 : packages + version;
        used += (size_t)snprintf(to + used, size - used, "%s\"%.*s\": \"%.*s\"", used > 0 ? ", " : "", (int)name, packages,
                                 (int)(packages + version - number), number);
        packages += version + strspn(packages + version, ", ");
    }
    if (used >= size)
        to[0] = '\0'; /* cut, it would be no JSON */
}

static void runtime_fill(const struct launch *launch, struct front_runtime *to)
{
    *to = (struct front_runtime) { .slots = launch->plan.slots,
                                   .at_once = (uint32_t)launch->settings.slots,
                                   .notify = launch->plan.notify,
                                   .cgroup_version = launch->plan.cgroup_version };
    snprintf(to->name, sizeof to->name, "%s", launch->name);
    snprintf(to->python, sizeof to->python, "%s", launch->python.version);
    snprintf(to->isolation, sizeof to->isolation, "%s", level_name(&launch->plan));
    packages_json(launch->python.packages, to->packages, sizeof to->packages);
}

int launch_front_plan(const struct launch *launches, uint32_t count, int *ret_fd)
{
    const struct settings *s = &launches[0].settings;
    const struct plan *plan = &launches[0].plan;
    struct sock_filter *filters[FILTER_KINDS] = { NULL };
    size_t lengths[FILTER_KINDS] = { 0 };
    struct front_plan front = {
        .version = FRONT_PLAN_VERSION,
        .jail = plan->level == LEVEL_FULL || plan->uids,
        .uid = plan->uids ? plan->uid_base + UID_FRONT : 0,
        .gid = plan->uids ? plan->uid_base + UID_FRONT : 0,
        .listeners = s->listen_count,
        .queue_max = (uint32_t)s->queue_max,
        .connections_max = (uint32_t)s->connections_max,
        .deadline_ms = (uint32_t)s->deadline_ms,
        .exit_grace_ms = (uint32_t)s->exit_grace_ms,
        .drain_ms = (uint32_t)s->drain_ms,
        .request_ms = (uint32_t)s->request_ms,
        .idle_ms = (uint32_t)s->idle_ms,
        .processes = (uint32_t)s->processes,
        .body_max = s->body_max,
        .run_body_max = s->run_body_max,
        .cpu_ms = s->cpu_ms,
        .memory_bytes = plan->memory_bytes,
        .tmp_bytes = plan->tmp_bytes,
        .tmp_files = plan->tmp_files,
        .files_bytes = s->files_mb << 20,
        .runtimes = count,
        .keys = s->keys[0] != '\0',
        .result_max = s->result_max,
        .stdout_max = s->stdout_max,
    };
    for (uint32_t i = 0; i < count; i++) {
        runtime_fill(&launches[i], &front.runtime[i]);
        front.slots += front.runtime[i].slots;
    }
    if (level_json(&launches[0], front.ready, sizeof front.ready) != 0)
        return launch_fail("the description of the level is too long");
    int status = filters_make(plan, filters, lengths);
    if (status == 0) {
        front.filter_length = (uint32_t)lengths[FILTER_FRONT];
        struct iovec parts[] = { { &front, sizeof front }, { filters[FILTER_FRONT], lengths[FILTER_FRONT] * sizeof **filters } };
        *ret_fd = memory_file("front's plan", parts, 2);
        status = *ret_fd < 0;
    }
    filters_free(filters);
    return status;
}

/* NAME=PYTHON[,preload=A+B][,share=DIR][,slots=N] */
static int runtime_read(struct launch *launch, const char *value)
{
    char text[SETTINGS_PATH_MAX], error[OPTION_ERROR_MAX];
    snprintf(text, sizeof text, "%s", value);
    char *rest = text, *name = strsep(&rest, "="), *python = strsep(&rest, ",");
    if (python == NULL || !key_name_valid(name, strlen(name)) || strlen(name) >= sizeof launch->name || strcmp(name, "default") == 0) {
        fprintf(stderr,
                "vivary: runtime takes NAME=PYTHON, with a name of at most 31 letters, digits and ._- that isn't `default`, not '%.60s'\n",
                value);
        return 1;
    }
    snprintf(launch->name, sizeof launch->name, "%s", name);
    launch->settings.preload[0] = launch->settings.share[0] = '\0';
    int r = settings_set(&launch->settings, "python", python, error);
    for (char *field; r == 0 && (field = strsep(&rest, ",")) != NULL;) {
        char *equals = strchr(field, '=');
        bool known =
            equals != NULL && (strncmp(field, "preload=", 8) == 0 || strncmp(field, "share=", 6) == 0 || strncmp(field, "slots=", 6) == 0);
        if (!known) {
            snprintf(error, sizeof error, "there are preload=, share= and slots=, and not '%.60s'", field);
            r = -1;
            break;
        }
        *equals = '\0';
        for (char *plus = equals + 1; strcmp(field, "preload") == 0 && *plus != '\0'; plus++)
            *plus = *plus == '+' ? ',' : *plus;
        r = settings_set(&launch->settings, field, equals + 1, error);
    }
    if (r < 0)
        fprintf(stderr, "vivary: runtime %s: %s\n", launch->name, error);
    return r < 0;
}

int launch_runtimes(struct launch *launches, uint32_t *ret_count)
{
    const struct settings *settings = &launches[0].settings;
    for (uint32_t i = 0; i < settings->runtime_count; i++) {
        struct launch *launch = &launches[1 + i];
        launch->settings = *settings;
        launch->number = 1 + i;
        launch->uid_range = launches[0].uid_range;
        launch->host = launches[0].host;
        if (runtime_read(launch, settings->runtimes[i]) != 0)
            return 1;
        for (uint32_t before = 0; before < 1 + i; before++)
            if (strcmp(launches[before].name, launch->name) == 0) {
                fprintf(stderr, "vivary: runtime %s is given twice\n", launch->name);
                return 1;
            }
        if (launch_prepare(launch) != 0)
            return 1;
    }
    *ret_count = 1 + settings->runtime_count;
    return 0;
}

int launch_front(const struct launch *launch, int plan_fd, const int *keepers, uint32_t keeper_count, const int *listeners, uint32_t count,
                 pid_t *ret_pid, int *ret_news)
{
    int news[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, news) < 0)
        return errno_fail("socketpair", "front's news");
    OWN_FD ours = news[0];
    OWN_FD its = news[1];
    int fds[2 + RUNTIMES_MAX + FRONT_LISTEN_MAX] = { plan_fd, its };
    for (uint32_t i = 0; i < keeper_count; i++)
        fds[2 + i] = keepers[i];
    for (uint32_t i = 0; i < count; i++)
        fds[2 + keeper_count + i] = listeners[i];
    if (program_start(launch, "vivary-front", fds, 2 + keeper_count + count, ret_pid) != 0)
        return 1;
    *ret_news = fd_take(&ours);
    return 0;
}

int launch_keys(const struct launch *launch, int *ret_fd)
{
    const char *path = launch->settings.keys;
    static char text[KEYS_TEXT_MAX];
    char error[KEYS_ERROR_ROOM];
    *ret_fd = -1;
    if (path[0] == '\0')
        return 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errno_fail("fopen", path);
    size_t length = fread(text, 1, sizeof text, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed || length == sizeof text) {
        fprintf(stderr, "vivary: %s: %s\n", path, failed ? "it can't be read" : "it is larger than 16 MiB");
        return 1;
    }
    struct keys keys = { 0 };
    if (keys_parse(text, length, &keys, error) < 0) {
        fprintf(stderr, "vivary: %s: %s\n", path, error);
        return 1;
    }
    struct iovec part = { keys.at, keys.count * sizeof *keys.at };
    *ret_fd = memory_file("keys", &part, 1);
    keys_free(&keys);
    return *ret_fd < 0;
}
