#ifndef VIVARY_SETTINGS_FILE_H
#define VIVARY_SETTINGS_FILE_H

#include "settings/option.h"

/* Reads a configuration file: lines `name = value`, `#` or `;` before a comment. 0, or -1 with "path:line: what" in `error`. */
int settings_from_file(struct settings *settings, const char *path, char error[static OPTION_ERROR_MAX]);

#endif
