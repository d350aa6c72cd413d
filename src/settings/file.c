#include "settings/file.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 64, NAME_MAX_LENGTH = 32 };

struct reading {
    struct settings *settings;
    FILE *file;
    int line;                               /* the one that inih has last */
    char names[NAMES_MAX][NAME_MAX_LENGTH]; /* seen so far: a repeated one is an error, not the last word */
    size_t count;
    char error[OPTION_ERROR_MAX]; /* the first; no line is read after it */
    int error_line;
};

static int reading_fail(struct reading *reading, const char *what)
{
    snprintf(reading->error, sizeof reading->error, "%s", what);
    reading->error_line = reading->line;
    return 0;
}

/* Gives inih a line, as fgets would, but none that it would misread: it cuts a long one in two, takes an indented one for more of the value
 * before, drops what stands after a NUL, and lets a section's heading pass when nothing follows. */
static char *line_give(char *to, int room, void *context)
{
    struct reading *reading = context;
    char *line = NULL;
    size_t size = 0;
    ssize_t length = reading->error[0] == '\0' ? getline(&line, &size, reading->file) : -1;
    if (length >= 0) {
        reading->line++;
        size_t blank = strspn(line, " \t\r\n");
        if (length >= room)
            reading_fail(reading, "the line is too long: at most 198 bytes");
        else if (memchr(line, '\0', (size_t)length) != NULL)
            reading_fail(reading, "there is a NUL in the line");
        else if (blank > 0 && line[blank] != '\0' && strchr("#;", line[blank]) == NULL)
            reading_fail(reading, "the line is indented: name = value starts at its beginning");
        else if (line[0] == '[')
            reading_fail(reading, "there are no sections, only lines name = value");
        else
            memcpy(to, line, (size_t)length + 1);
    }
    free(line);
    return length >= 0 && reading->error[0] == '\0' ? to : NULL;
}

/* Called by inih for each setting; 0: it was refused. */
static int line_take(void *context, const char *section, const char *name, const char *value)
{
    struct reading *reading = context;
    (void)section;
    for (size_t i = 0; i < reading->count; i++)
        if (strcmp(reading->names[i], name) == 0 && strcmp(name, "listen") != 0 && strcmp(name, "runtime") != 0) {
            char what[NAME_MAX_LENGTH + 32];
            snprintf(what, sizeof what, "%.32s stands there twice", name);
            return reading_fail(reading, what);
        }
    if (reading->count < NAMES_MAX)
        snprintf(reading->names[reading->count++], NAME_MAX_LENGTH, "%s", name);
    char what[OPTION_ERROR_MAX];
    return settings_set(reading->settings, name, value != NULL ? value : "", what) == 0 ? 1 : reading_fail(reading, what);
}

int settings_from_file(struct settings *settings, const char *path, char error[static OPTION_ERROR_MAX])
{
    struct reading reading = { .settings = settings, .file = fopen(path, "re") };
    if (reading.file == NULL) {
        snprintf(error, OPTION_ERROR_MAX, "%.150s: %s", path, strerror(errno));
        return -1;
    }
    errno = 0;
    int r = ini_parse_stream(line_give, &reading, line_take, &reading);
    int failed = ferror(reading.file) ? errno : 0; /* a folder can be opened, and not read */
    fclose(reading.file);
    if (failed != 0) {
        snprintf(error, OPTION_ERROR_MAX, "%.150s: %s", path, strerror(failed));
        return -1;
    }
    /* inih goes on after a line that it can't make sense of, and says its number at the end; that may be before the one refused here. */
    if (r != 0 && (reading.error_line == 0 || r < reading.error_line)) {
        snprintf(error, OPTION_ERROR_MAX, "%.80s:%d: a line name = value was expected", path, r);
        return -1;
    }
    if (reading.error_line == 0)
        return 0;
    snprintf(error, OPTION_ERROR_MAX, "%.80s:%d: %.150s", path, reading.error_line, reading.error);
    return -1;
}
