#include "settings/file.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>

enum { NAMES_MAX = 64, NAME_MAX_LENGTH = 32 };

struct reading {
    struct settings *settings;
    char names[NAMES_MAX][NAME_MAX_LENGTH]; /* seen so far: a repeated one is an error, not the last word */
    size_t count;
    char error[OPTION_ERROR_MAX];
};

/* Called by inih for each line; 0 makes ini_parse_file return the line's number, of the first such line. */
static int line_take(void *context, const char *section, const char *name, const char *value)
{
    struct reading *reading = context;
    if (reading->error[0] != '\0')
        return 0; /* inih goes on after an error; the first is the one to tell */
    if (section[0] != '\0') {
        snprintf(reading->error, sizeof reading->error, "there are no sections, only lines name = value");
        return 0;
    }
    for (size_t i = 0; i < reading->count; i++)
        if (strcmp(reading->names[i], name) == 0 && strcmp(name, "listen") != 0) {
            snprintf(reading->error, sizeof reading->error, "%s stands there twice", name);
            return 0;
        }
    if (reading->count < NAMES_MAX)
        snprintf(reading->names[reading->count++], NAME_MAX_LENGTH, "%s", name);
    return settings_set(reading->settings, name, value != NULL ? value : "", reading->error) == 0;
}

int settings_from_file(struct settings *settings, const char *path, char error[static OPTION_ERROR_MAX])
{
    struct reading reading = { .settings = settings };
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(error, OPTION_ERROR_MAX, "%.150s: %s", path, strerror(errno));
        return -1;
    }
    /* inih cuts a line that is longer than its buffer in two, and would read the rest as another: such a file is refused before. */
    int column = 0;
    for (int c; (c = fgetc(file)) != EOF;) {
        column = c == '\n' ? 0 : column + 1;
        if (column > 190) {
            snprintf(error, OPTION_ERROR_MAX, "%.100s: a line is longer than 190 bytes", path);
            fclose(file);
            return -1;
        }
    }
    rewind(file);
    int r = ini_parse_file(file, line_take, &reading);
    fclose(file);
    if (r == 0)
        return 0;
    snprintf(error, OPTION_ERROR_MAX, "%.80s:%d: %.150s", path, r,
             reading.error[0] != '\0' ? reading.error : "a line name = value was expected");
    return -1;
}
