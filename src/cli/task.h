/* `vivary run` with all that POST /v1/run takes: the same keeper and front as a service's, for one request. */
#ifndef VIVARY_CLI_TASK_H
#define VIVARY_CLI_TASK_H

#include "cli/launch.h"

#include <stdbool.h>
#include <stddef.h>

enum { TASK_WORDS_MAX = 64 };

struct task {
    const char *script;
    size_t script_length;
    const char *input, *entry;          /* JSON; a name; NULL: not given */
    const char *files[TASK_WORDS_MAX];  /* PATH or PATH=NAME */
    const char *limits[TASK_WORDS_MAX]; /* name=value */
    size_t file_count, limit_count;
    const char *fetch_to; /* a folder; NULL: none */
    bool json;            /* prints the whole answer */
};

/* Takes `argument` at `argv[*at]`, if it is one of the task's, with its value, and moves *at behind it. 1 if it was; 0 if not; -1 with the
 * reason printed. */
int task_option(struct task *task, int argc, char **argv, int *at);

/* Exit status: 0 if the run's status is ok, or with json if there was an answer to print that says so. */
int task_run(struct launch *launch, const struct task *task);

#endif
