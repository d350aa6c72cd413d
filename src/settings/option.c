#include "settings/option.h"

#include "settings/file.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum option_kind { OPTION_NUMBER, OPTION_TEXT, OPTION_LIST };

static const struct option_rule {
    const char *name;
    enum option_kind kind;
    size_t field;
    uint64_t least, standard, most; /* of a number; of a text, `most` is its room */
    const char *standard_text;
    const char *meaning;
} OPTIONS[] = {
#define NUMBER(name, field, least, standard, most, meaning)                                                                                \
    {                                                                                                                                      \
        name, OPTION_NUMBER, offsetof(struct settings, field), least, standard, most, NULL, meaning                                        \
    }
#define TEXT(name, field, standard, meaning)                                                                                               \
    {                                                                                                                                      \
        name, OPTION_TEXT, offsetof(struct settings, field), 0, 0, sizeof((struct settings *)0)->field, standard, meaning                  \
    }
    { "listen", OPTION_LIST, 0, 0, 0, 0, "127.0.0.1:8080", "ADDR:PORT, [ADDR6]:PORT or unix:/path; may be given more than once" },
    TEXT("host", host, "127.0.0.1", "the address that is listened on when none is given by listen"),
    TEXT("python", python, "/usr/bin/python3", "the interpreter, any CPython from 3.9 on, also of a venv"),
    TEXT("preload", preload, "numpy,pandas", "packages that are imported ahead, with commas between"),
    TEXT("share", share, "", "a folder that scripts see, read-only, as /app"),
    { "runtime", OPTION_LIST, 0, 0, 0, 0, "",
      "NAME=PYTHON[,preload=PACKAGE+PACKAGE][,share=DIR][,slots=N], for /v1/run beside `default`; may be given more than once" },
    TEXT("keys", keys, "", "a file of API keys (docs/operations.md); empty: whoever reaches the service may use it"),
    TEXT("log-format", log_format, "logfmt", "of the log's lines: logfmt or json"),
    TEXT("level", level, "auto", "isolation that is demanded: auto (the strongest that the host allows), full or contained"),
    NUMBER("slots", slots, 1, 16, 1024, "runs at once; each has a worker waiting"),
    NUMBER("spare", spare, 0, 4, 64, "workers that wait beyond those: what a run leaves is cleared up meanwhile"),
    NUMBER("queue-max", queue_max, 0, 256, 65536, "runs that may wait for a slot; more are answered 503"),
    NUMBER("connections-max", connections_max, 1, 1024, 65536, "HTTP connections at once"),
    NUMBER("deadline-ms", deadline_ms, 1, 10000, 3600000, "wall time of one run"),
    NUMBER("cpu-ms", cpu_ms, 1000, 10000, 3600000, "processor time of one run, of all its processes together"),
    NUMBER("exit-grace-ms", exit_grace_ms, 0, 1000, 60000, "wall time for exit handlers once the result is there"),
    NUMBER("request-ms", request_ms, 100, 10000, 600000, "a request must have come whole in this time"),
    NUMBER("idle-ms", idle_ms, 100, 60000, 3600000, "a kept-alive connection without a request is closed after this"),
    NUMBER("drain-ms", drain_ms, 0, 0, 600000,
           "at SIGTERM, time in which connections are still taken and told 503, so that a balancer can notice"),
    NUMBER("memory-mb", memory_mb, 64, 512, 1048576, "memory of one run, in MiB"),
    NUMBER("processes", processes, 1, 64, 4096, "processes and threads of one run"),
    NUMBER("tmp-mb", tmp_mb, 1, 64, 65536, "size of /tmp, and of /dev/shm, in MiB"),
    NUMBER("tmp-files", tmp_files, 16, 4096, 1000000, "files in each of them"),
    NUMBER("descriptors", descriptors, 16, 256, 900, "open descriptors of each process of a run"),
    NUMBER("renew-runs", renew_runs, 0, 100000, 1000000000, "runs after which another warm interpreter takes over; 0: never"),
    NUMBER("renew-s", renew_s, 0, 3600, 31536000, "seconds after which it does; 0: never"),
    NUMBER("body-max", body_max, 1024, 1048576, 1073741824, "bytes of a request's body"),
    NUMBER("run-body-max", run_body_max, 1024, 25165824, 1073741824, "bytes of the body of a request to /v1/run, which carries files"),
    NUMBER("files-mb", files_mb, 1, 16, 1024, "files that a request to /v1/run may bring, and get back, in MiB"),
    NUMBER("result-max", result_max, 1024, 16777216, 1073741824, "bytes of a result's JSON"),
    NUMBER("stdout-max", stdout_max, 0, 1048576, 1073741824, "bytes of output that are kept"),
#undef NUMBER
#undef TEXT
};

static const struct option_rule *option_find(const char *name)
{
    for (size_t i = 0; i < COUNT(OPTIONS); i++)
        if (strcmp(OPTIONS[i].name, name) == 0)
            return &OPTIONS[i];
    return NULL;
}

static void *option_field(struct settings *settings, const struct option_rule *option)
{
    return (char *)settings + option->field;
}

void settings_default(struct settings *settings)
{
    *settings = (struct settings) { 0 };
    for (size_t i = 0; i < COUNT(OPTIONS); i++) {
        const struct option_rule *option = &OPTIONS[i];
        if (option->kind == OPTION_NUMBER)
            *(uint64_t *)option_field(settings, option) = option->standard;
        else if (option->kind == OPTION_TEXT)
            snprintf(option_field(settings, option), option->most, "%s", option->standard_text);
    }
}

static int number_set(const struct option_rule *option, uint64_t *field, const char *value, char error[static OPTION_ERROR_MAX])
{
    char *end = NULL;
    errno = 0;
    /* strtoull takes signs and leading space, which are not numbers of anything here. */
    uint64_t number = value[0] >= '0' && value[0] <= '9' ? strtoull(value, &end, 10) : 0;
    if (end == NULL || *end != '\0' || errno != 0 || number < option->least || number > option->most) {
        snprintf(error, OPTION_ERROR_MAX, "%s takes a whole number from %llu to %llu, not '%.60s'", option->name,
                 (unsigned long long)option->least, (unsigned long long)option->most, value);
        return -1;
    }
    *field = number;
    return 0;
}

/* An option that may be given more than once. */
struct list {
    char (*at)[SETTINGS_PATH_MAX];
    uint32_t *count, most;
    const char *what, *form;
    const char *separator; /* in a variable of the environment */
};

static struct list list_of(struct settings *settings, const struct option_rule *option)
{
    if (strcmp(option->name, "runtime") == 0)
        return (struct list) { settings->runtimes, &settings->runtime_count,    SETTINGS_RUNTIMES_MAX,
                               "runtimes",         "NAME=PYTHON[,preload=A+B]", ";" };
    return (struct list) {
        settings->listen, &settings->listen_count, SETTINGS_LISTEN_MAX, "addresses", "ADDR:PORT, [ADDR6]:PORT or unix:/path", ","
    };
}

int settings_set(struct settings *settings, const char *name, const char *value, char error[static OPTION_ERROR_MAX])
{
    const struct option_rule *option = option_find(name);
    if (option == NULL) {
        snprintf(error, OPTION_ERROR_MAX, "there is no option '%.60s'", name);
        return -1;
    }
    if (option->kind == OPTION_NUMBER)
        return number_set(option, option_field(settings, option), value, error);
    if (option->kind == OPTION_LIST) {
        struct list list = list_of(settings, option);
        if (*list.count == list.most) {
            snprintf(error, OPTION_ERROR_MAX, "%s takes at most %u %s", name, list.most, list.what);
            return -1;
        }
        if (value[0] == '\0' || strlen(value) >= SETTINGS_PATH_MAX) {
            snprintf(error, OPTION_ERROR_MAX, "%s takes %s, not '%.60s'", name, list.form, value);
            return -1;
        }
        snprintf(list.at[(*list.count)++], SETTINGS_PATH_MAX, "%s", value);
        return 0;
    }
    if (strlen(value) >= option->most) {
        snprintf(error, OPTION_ERROR_MAX, "%s takes at most %zu bytes", option->name, (size_t)option->most - 1);
        return -1;
    }
    if (strcmp(name, "level") == 0 && strcmp(value, "auto") != 0 && strcmp(value, "full") != 0 && strcmp(value, "contained") != 0) {
        snprintf(error, OPTION_ERROR_MAX, "level takes auto, full or contained, not '%.60s'", value);
        return -1;
    }
    if (strcmp(name, "log-format") == 0 && strcmp(value, "logfmt") != 0 && strcmp(value, "json") != 0) {
        snprintf(error, OPTION_ERROR_MAX, "log-format takes logfmt or json, not '%.60s'", value);
        return -1;
    }
    if (strcmp(name, "python") == 0 && value[0] != '/') {
        snprintf(error, OPTION_ERROR_MAX, "python takes an absolute path, not '%.60s'", value);
        return -1;
    }
    snprintf(option_field(settings, option), option->most, "%s", value);
    return 0;
}

/* The name of the variable of an option, without VIVARY_. */
static void variable_name(const char *option, char *to, size_t size)
{
    size_t i = 0;
    for (; option[i] != '\0' && i + 1 < size; i++)
        to[i] = option[i] == '-' ? '_' : (char)(option[i] - 'a' + 'A');
    to[i] = '\0';
}

static int variable_set(struct settings *settings, const char *variable, const char *value, char error[static OPTION_ERROR_MAX])
{
    for (size_t i = 0; i < COUNT(OPTIONS); i++) {
        char name[32];
        variable_name(OPTIONS[i].name, name, sizeof name);
        if (strcmp(variable, name) != 0)
            continue;
        if (OPTIONS[i].kind != OPTION_LIST)
            return settings_set(settings, OPTIONS[i].name, value, error);
        struct list of_option = list_of(settings, &OPTIONS[i]);
        *of_option.count = 0; /* in place of the file's */
        char list[SETTINGS_PATH_MAX];
        if (strlen(value) >= sizeof list) {
            snprintf(error, OPTION_ERROR_MAX, "the list is longer than %d bytes", SETTINGS_PATH_MAX - 1);
            return -1;
        }
        snprintf(list, sizeof list, "%s", value);
        char *rest = list;
        for (char *one; (one = strsep(&rest, of_option.separator)) != NULL;)
            if (settings_set(settings, OPTIONS[i].name, one, error) < 0)
                return -1;
        return 0;
    }
    snprintf(error, OPTION_ERROR_MAX, "there is no such option; --help lists them");
    return -1;
}

int settings_from_environment(struct settings *settings, char **environment, char error[static OPTION_ERROR_MAX])
{
    for (char **at = environment; *at != NULL; at++) {
        const char *value = strchr(*at, '=');
        if (strncmp(*at, "VIVARY_", 7) != 0 || value == NULL)
            continue;
        char name[64];
        size_t length = (size_t)(value - *at) - 7;
        snprintf(name, sizeof name, "%.*s", length < sizeof name ? (int)length : (int)sizeof name - 1, *at + 7);
        if (strcmp(name, "CONFIG") == 0 || strcmp(name, "BINARY") == 0)
            continue; /* read elsewhere: the file's path, and the tests' */
        char what[OPTION_ERROR_MAX];
        if (variable_set(settings, name, value + 1, what) < 0) {
            snprintf(error, OPTION_ERROR_MAX, "VIVARY_%s: %.180s", name, what);
            return -1;
        }
    }
    return 0;
}

void options_help(FILE *to)
{
    fputs("Options, on the command line as --name VALUE or --name=VALUE, in the environment as VIVARY_NAME=VALUE (dashes as underscores),\n"
          "in the configuration file as a line name = value. The command line wins over the environment, that over the file.\n\n"
          "  --config FILE          the configuration file (also VIVARY_CONFIG)\n"
          "  --help                 this text\n",
          to);
    for (size_t i = 0; i < COUNT(OPTIONS); i++) {
        const struct option_rule *option = &OPTIONS[i];
        char flag[40];
        snprintf(flag, sizeof flag, "--%s %s", option->name,
                 option->kind == OPTION_NUMBER ? "N"
                 : option->kind == OPTION_LIST ? "ADDRESS"
                                               : "TEXT");
        fprintf(to, "  %-22s %s", flag, option->meaning);
        if (option->kind == OPTION_NUMBER)
            fprintf(to, " (%llu to %llu; default %llu)\n", (unsigned long long)option->least, (unsigned long long)option->most,
                    (unsigned long long)option->standard);
        else
            fprintf(to, " (default %s)\n", option->standard_text[0] != '\0' ? option->standard_text : "none");
        char variable[32];
        variable_name(option->name, variable, sizeof variable);
        fprintf(to, "  %-22s   VIVARY_%s=..., or in the file: %s = ...\n", "", variable, option->name);
    }
    fputs("\nWithout an address, the variable PORT gives the port on host.\n", to);
}

enum { FLAG_CONFIG = 1000, FLAG_HELP };

/* Goes through the arguments. They are read twice, since --config names what comes before them: with `ret_config` only that is taken,
 * without it all the rest. One reading for both: getopt_long takes shortened names, and --config may be another option's value. */
static int arguments_read(struct settings *settings, int argc, char **argv, const char **ret_config, char error[static OPTION_ERROR_MAX])
{
    struct option flags[COUNT(OPTIONS) + 3] = { 0 };
    for (size_t i = 0; i < COUNT(OPTIONS); i++)
        flags[i] = (struct option) { OPTIONS[i].name, required_argument, NULL, (int)i + 1 };
    flags[COUNT(OPTIONS)] = (struct option) { "config", required_argument, NULL, FLAG_CONFIG };
    flags[COUNT(OPTIONS) + 1] = (struct option) { "help", no_argument, NULL, FLAG_HELP };
    bool given[COUNT(OPTIONS)] = { false };
    optind = 0;
    opterr = 0;
    for (int found; (found = getopt_long(argc, argv, "+:h", flags, NULL)) != -1;) {
        if (found == FLAG_HELP || found == 'h') {
            options_help(stdout);
            return -1;
        }
        if (found == '?' || found == ':') {
            /* Of a short option getopt has the letter; argv[optind - 1] is the one before it while more letters follow. */
            if (found == '?' && optopt > ' ' && optopt < 127)
                snprintf(error, (size_t)OPTION_ERROR_MAX, "there is no option '-%c'", optopt);
            else
                snprintf(error, (size_t)OPTION_ERROR_MAX, found == ':' ? "the option '%.60s' takes a value" : "there is no option '%.60s'",
                         argv[optind - 1]);
            return 2;
        }
        if (found == FLAG_CONFIG && ret_config != NULL)
            *ret_config = optarg;
        if (found == FLAG_CONFIG || ret_config != NULL)
            continue;
        const char *name = OPTIONS[found - 1].name;
        if (OPTIONS[found - 1].kind == OPTION_LIST && !given[found - 1])
            *list_of(settings, &OPTIONS[found - 1]).count = 0; /* in place of those given before */
        given[found - 1] = true;
        if (settings_set(settings, name, optarg, error) < 0)
            return 2;
    }
    if (optind < argc) {
        snprintf(error, (size_t)OPTION_ERROR_MAX, "'%.60s' is not an option", argv[optind]);
        return 2;
    }
    return 0;
}

int settings_read(struct settings *settings, int argc, char **argv, char error[static OPTION_ERROR_MAX])
{
    settings_default(settings);
    const char *path = getenv("VIVARY_CONFIG");
    int r = arguments_read(settings, argc, argv, &path, error);
    if (r != 0)
        return r;
    if (path != NULL && settings_from_file(settings, path, error) < 0)
        return 2;
    if (settings_from_environment(settings, environ, error) < 0)
        return 2;
    r = arguments_read(settings, argc, argv, NULL, error);
    if (r != 0)
        return r;
    if (settings->listen_count == 0) {
        const char *port = getenv("PORT");
        char address[128];
        snprintf(address, sizeof address, "%s:%.40s", settings->host, port != NULL ? port : "8080");
        return settings_set(settings, "listen", address, error) < 0 ? 2 : 0;
    }
    return 0;
}

int settings_from_arguments(struct settings *settings, int argc, char **argv)
{
    char error[OPTION_ERROR_MAX];
    int r = settings_read(settings, argc, argv, error);
    if (r > 0) {
        fprintf(stderr, "vivary: %s\n\n", error);
        options_help(stderr);
    }
    return r;
}
