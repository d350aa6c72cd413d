/* The options of `vivary`: declared once in option.c, read from the configuration file, the environment and the command line. */
#ifndef VIVARY_SETTINGS_OPTION_H
#define VIVARY_SETTINGS_OPTION_H

#include "settings/settings.h"

#include <stdio.h>

enum { OPTION_ERROR_MAX = 256 };

void settings_default(struct settings *settings);

/* Sets one option by name. 0, or -1 with a sentence in `error` that says what was wrong and what would be right. `listen` adds to its list.
 */
int settings_set(struct settings *settings, const char *name, const char *value, char error[static OPTION_ERROR_MAX]);

/* VIVARY_NAME for each option, dashes as underscores. 0, or -1 with `error`. An unknown VIVARY_ variable is an error. */
int settings_from_environment(struct settings *settings, char **environment, char error[static OPTION_ERROR_MAX]);

/* Everything: defaults, then --config's file (or VIVARY_CONFIG's), then the environment, then the command line; what comes later wins.
 * Without an address, PORT gives one on 127.0.0.1, else it is 127.0.0.1:8080. Returns 0; -1 when --help was answered; 2, the exit status,
 * with the reason printed. */
int settings_from_arguments(struct settings *settings, int argc, char **argv);

/* The same without printing what is wrong: 2 with a sentence in `error`. */
int settings_read(struct settings *settings, int argc, char **argv, char error[static OPTION_ERROR_MAX]);

void options_help(FILE *to);

#endif
