/* What the operator's Python says of itself. It runs once, outside of any cell: it is the operator's program, like this one. */
#ifndef VIVARY_CLI_PYTHON_H
#define VIVARY_CLI_PYTHON_H

#include "settings/settings.h"
#include "wire/plan.h"

#include <stdbool.h>
#include <stdint.h>

struct python {
    char executable[PLAN_PATH_MAX]; /* sys.executable, not a shim that started it */
    char version[32];
    char packages[512];                            /* "numpy 1.24.2, pandas 1.5.3" */
    char missing[512];                             /* names that can't be imported, with commas between; empty: none */
    char prefix[PLAN_PREFIXES_MAX][PLAN_PATH_MAX]; /* folders outside /usr that it lives in */
    uint32_t prefixes;
};

/* 0, or -1 with a sentence in `error`. */
int python_ask(const struct settings *settings, struct python *ret_python, char error[static 512]);

#endif
