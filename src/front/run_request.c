#include "front/run_request.h"

#include "front/json_check.h"
#include "front/request.h"
#include "front/sort.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SHOWN = 60, SEGMENTS_ANY_MAX = 4 };

#define MIB (UINT64_C(1) << 20)

/* What is known so far. The first problem stays. */
struct parse {
    const struct run_limits *most;
    struct run_request request;
    struct problem *problem;
    struct json_slice code, script;
    char where[96]; /* the element that is looked at */
    size_t count, bytes, files_bytes;
    struct json_slice path, content, encoding; /* of the file that is looked at */
    char **paths;
    size_t path_count;
};

static void refuse(struct parse *p, const char *param, const char *detail)
{
    if (p->problem->status == 0)
        problem_set(p->problem, 400, "bad_request", param, "%s %s", param, detail);
}

static bool is_string(struct json_slice value)
{
    return value.length > 0 && value.at[0] == '"';
}

static bool is_null(struct json_slice value)
{
    return value.length > 0 && value.at[0] == 'n';
}

/* Decodes a string: malloc'ed, with a NUL behind it that isn't counted. NULL, and the problem told, when memory is out. */
static char *string_take(struct parse *p, struct json_slice value, size_t *ret_length)
{
    const struct json_slice inside = { value.at + 1, value.length - 2 };
    char *text = malloc(inside.length + 1);
    if (text == NULL) {
        problem_set(p->problem, 500, "internal", "", "Out of memory while reading the request body");
        return NULL;
    }
    *ret_length = json_string_decode(inside, text);
    text[*ret_length] = '\0';
    return text;
}

/* The name of an unknown field, or the like, as it is shown: clipped. */
static void name_show(struct json_slice key, char *to, size_t size)
{
    const struct json_slice part = { key.at, key.length < NAME_SHOWN ? key.length : NAME_SHOWN };
    snprintf(to, size, "%.*s%s", (int)part.length, part.at, part.length < key.length ? "..." : "");
}

/* `of`: the path of what holds it; empty: the request itself. */
static void field_unknown(struct parse *p, const char *of, struct json_slice key, const char *known)
{
    char name[NAME_SHOWN + 8], param[96];
    name_show(key, name, sizeof name);
    snprintf(param, sizeof param, "%s%s%s", of, of[0] != '\0' ? "." : "", name);
    if (of[0] == '\0')
        of = "the request";
    if (p->problem->status == 0)
        problem_set(p->problem, 400, "bad_request", param, "There is no field '%s' in %s; there are %s", name, of, known);
}

/* Shows the parts of a value to `member`: all of them, or there is a problem. */
static void each_read(struct parse *p, struct json_slice value, json_member *member)
{
    if (json_each(value, member, p) != JSON_OK && p->problem->status == 0)
        problem_set(p->problem, 500, "internal", "", "Out of memory while reading the request body");
}

/* --- paths */

/* Whether `text` names something below the working folder, and nothing above it or twice. NULL, or what is wrong with it. */
static const char *path_wrong(const char *text, size_t length, size_t most)
{
    size_t parts = 0, part = 0;
    if (length == 0)
        return "must not be empty";
    if (length > most)
        return "is too long";
    if (memchr(text, '\0', length) != NULL)
        return "must not contain a NUL character";
    if (text[0] == '/')
        return "must be relative to the working folder";
    for (size_t at = 0; at <= length; at++) {
        if (at < length && text[at] != '/') {
            part++;
            continue;
        }
        const char *name = text + at - part;
        if (part == 0 || (part == 1 && name[0] == '.') || (part == 2 && name[0] == '.' && name[1] == '.'))
            return "must have no empty parts, and none that are '.' or '..'";
        if (part > 255)
            return "has a part of more than 255 bytes";
        if (++parts > RUN_PATH_PARTS)
            return "has more than 16 parts";
        part = 0;
    }
    return NULL;
}

static int path_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* No path twice, and none that is a folder of another. */
static void paths_compare(struct parse *p)
{
    sort(p->paths, p->path_count, sizeof *p->paths, path_order);
    for (size_t i = 0; i < p->path_count && p->problem->status == 0; i++) {
        if (i > 0 && strcmp(p->paths[i - 1], p->paths[i]) == 0)
            problem_set(p->problem, 400, "bad_request", "files", "files has the path '%.100s' twice", p->paths[i]);
        for (const char *slash = strchr(p->paths[i], '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
            char text[RUN_PATH_MAX + 1], *folder = text;
            snprintf(text, sizeof text, "%.*s", (int)(slash - p->paths[i]), p->paths[i]);
            if (p->problem->status == 0 && bsearch(&folder, p->paths, p->path_count, sizeof *p->paths, path_order) != NULL)
                problem_set(p->problem, 400, "bad_request", "files", "files has '%.100s' as a file and as a folder", folder);
        }
    }
}

/* --- files */

/* How many bytes this base64 stands for; SIZE_MAX if it isn't any. RFC 4648, 4, with its padding and without white space. */
static size_t base64_length(const char *text, size_t length)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bool valid[256] = { false };
    for (size_t i = 0; i < sizeof DIGITS - 1; i++)
        valid[(unsigned char)DIGITS[i]] = true;
    if (length % 4 != 0)
        return SIZE_MAX;
    size_t padding = length > 0 ? (text[length - 1] == '=') + (text[length - 1] == '=' && text[length - 2] == '=') : 0;
    for (size_t i = 0; i < length - padding; i++)
        if (!valid[(unsigned char)text[i]])
            return SIZE_MAX;
    return length / 4 * 3 - padding;
}

static void file_member(void *context, struct json_slice key, struct json_slice value)
{
    struct parse *p = context;
    if (json_key_is(key, "path"))
        p->path = value;
    else if (json_key_is(key, "content"))
        p->content = value;
    else if (json_key_is(key, "encoding"))
        p->encoding = value;
    else
        field_unknown(p, p->where, key, "path, content and encoding");
}

static void file_content_check(struct parse *p)
{
    char param[112];
    bool base64 = p->encoding.at != NULL && json_key_is((struct json_slice) { p->encoding.at + 1, p->encoding.length - 2 }, "base64");
    size_t length = 0;
    char *content = string_take(p, p->content, &length);
    if (content == NULL)
        return;
    size_t bytes = base64 ? base64_length(content, length) : length;
    free(content);
    snprintf(param, sizeof param, "%s.content", p->where);
    if (bytes == SIZE_MAX)
        refuse(p, param, "is no base64: groups of four of A-Z, a-z, 0-9, + and /, padded with =, are expected");
    else
        p->bytes += bytes;
    p->files_bytes = p->bytes;
    if (p->problem->status == 0 && p->bytes > p->most->files_mb * MIB)
        problem_set(p->problem, 413, "too_large", "files", "files hold more than %llu MiB", (unsigned long long)p->most->files_mb);
}

static void file_element(void *context, struct json_slice key, struct json_slice value)
{
    struct parse *p = context;
    char param[112];
    (void)key;
    if (p->problem->status != 0)
        return;
    snprintf(p->where, sizeof p->where, "files[%zu]", p->count++);
    p->path = p->content = p->encoding = (struct json_slice) { 0 };
    if (p->count > RUN_FILES_MAX)
        refuse(p, "files", "holds more than 1000 files");
    else if (value.at[0] != '{')
        refuse(p, p->where, "must be an object with path and content");
    else
        each_read(p, value, file_member);
    snprintf(param, sizeof param, "%s.path", p->where);
    if (p->problem->status == 0 && (p->path.at == NULL || !is_string(p->path)))
        refuse(p, param, "must be a string");
    snprintf(param, sizeof param, "%s.content", p->where);
    if (p->problem->status == 0 && (p->content.at == NULL || !is_string(p->content)))
        refuse(p, param, "must be a string");
    snprintf(param, sizeof param, "%s.encoding", p->where);
    if (p->problem->status == 0 && p->encoding.at != NULL &&
        (!is_string(p->encoding) || (!json_key_is((struct json_slice) { p->encoding.at + 1, p->encoding.length - 2 }, "utf8") &&
                                     !json_key_is((struct json_slice) { p->encoding.at + 1, p->encoding.length - 2 }, "base64"))))
        refuse(p, param, "must be \"utf8\" or \"base64\"");
    if (p->problem->status != 0)
        return;
    size_t length = 0;
    char *path = string_take(p, p->path, &length);
    if (path == NULL)
        return;
    p->paths[p->path_count++] = path;
    const char *wrong = path_wrong(path, length, RUN_PATH_MAX);
    snprintf(param, sizeof param, "%s.path", p->where);
    if (wrong != NULL)
        refuse(p, param, wrong);
    else
        file_content_check(p);
}

static void files_check(struct parse *p, struct json_slice value)
{
    if (value.at[0] != '[') {
        refuse(p, "files", "must be an array of objects with path and content");
        return;
    }
    p->count = p->bytes = 0;
    p->paths = calloc(RUN_FILES_MAX, sizeof *p->paths);
    if (p->paths == NULL) {
        problem_set(p->problem, 500, "internal", "", "Out of memory while reading the request body");
        return;
    }
    each_read(p, value, file_element);
    if (p->problem->status == 0)
        paths_compare(p);
    for (size_t i = 0; i < p->path_count; i++)
        free(p->paths[i]);
    free(p->paths);
    p->paths = NULL;
    p->path_count = 0;
}

/* --- words: argv, env, fetch */

/* One that the kernel takes: no NUL, and all together not too many. */
static void word_check(struct parse *p, struct json_slice value)
{
    size_t length = 0;
    if (p->problem->status != 0)
        return;
    if (!is_string(value)) {
        refuse(p, p->where, "must be a string");
        return;
    }
    char *text = string_take(p, value, &length);
    if (text == NULL)
        return;
    p->bytes += length;
    if (memchr(text, '\0', length) != NULL)
        refuse(p, p->where, "must not contain a NUL character");
    free(text);
}

static void words_bound(struct parse *p, const char *param)
{
    if (p->count > RUN_WORDS_MAX)
        refuse(p, param, "has more than 256 entries");
    else if (p->bytes > RUN_WORDS_BYTES)
        refuse(p, param, "is larger than 64 KiB");
}

static void argv_element(void *context, struct json_slice key, struct json_slice value)
{
    struct parse *p = context;
    (void)key;
    snprintf(p->where, sizeof p->where, "argv[%zu]", p->count++);
    word_check(p, value);
    words_bound(p, "argv");
}

static void env_member(void *context, struct json_slice key, struct json_slice value)
{
    struct parse *p = context;
    char *name = p->problem->status == 0 ? malloc(key.length + 1) : NULL;
    size_t length = name != NULL ? json_string_decode(key, name) : 0;
    char shown[NAME_SHOWN + 8];
    name_show(key, shown, sizeof shown);
    snprintf(p->where, sizeof p->where, "env.%s", shown);
    p->count++;
    p->bytes += length;
    if (name == NULL && p->problem->status == 0)
        problem_set(p->problem, 500, "internal", "", "Out of memory while reading the request body");
    if (name != NULL && (length == 0 || memchr(name, '=', length) != NULL || memchr(name, '\0', length) != NULL))
        refuse(p, p->where, "has a name that is empty, or holds '=' or a NUL character");
    free(name);
    word_check(p, value);
    words_bound(p, "env");
}

static void fetch_element(void *context, struct json_slice key, struct json_slice value)
{
    struct parse *p = context;
    size_t length = 0, any = 0;
    (void)key;
    snprintf(p->where, sizeof p->where, "fetch[%zu]", p->count++);
    word_check(p, value);
    if (p->problem->status != 0)
        return;
    if (p->count > RUN_PATTERNS_MAX) {
        refuse(p, "fetch", "has more than 32 patterns");
        return;
    }
    char *text = string_take(p, value, &length);
    if (text == NULL)
        return;
    const char *wrong = path_wrong(text, length, RUN_PATTERN_MAX);
    for (const char *at = text; (at = strstr(at, "**")) != NULL; at += 2)
        any++;
    if (wrong == NULL && any > SEGMENTS_ANY_MAX) /* each of them multiplies the ways to match */
        wrong = "has '**' more than four times";
    if (wrong != NULL)
        refuse(p, p->where, wrong);
    free(text);
}

/* Of an array or an object; `opens` says which. */
static void each_check(struct parse *p, const char *name, char opens, const char *kind, struct json_slice value, json_member *member)
{
    p->count = p->bytes = 0;
    if (value.at[0] != opens)
        refuse(p, name, kind);
    else
        each_read(p, value, member);
}

/* --- limits */

static const struct {
    const char *name;
    size_t field;
    uint64_t least;
} LIMITS[] = {
    { "wall_ms", offsetof(struct run_limits, wall_ms), 1 },
    { "cpu_ms", offsetof(struct run_limits, cpu_ms), 1 },
    { "memory_mb", offsetof(struct run_limits, memory_mb), RUN_MEMORY_LEAST },
    { "output_kb", offsetof(struct run_limits, output_kb), 1 },
    { "files_mb", offsetof(struct run_limits, files_mb), 1 },
    { "processes", offsetof(struct run_limits, processes), 1 },
};

static uint64_t limit_read(struct json_slice value)
{
    uint64_t number = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] < '0' || value.at[i] > '9' || i > 17)
            return 0; /* a sign, a fraction, an exponent, or no number at all */
        number = number * 10 + (uint64_t)(value.at[i] - '0');
    }
    return number;
}

static void limit_member(void *context, struct json_slice key, struct json_slice value)
{
    struct parse *p = context;
    size_t i = 0;
    while (i < sizeof LIMITS / sizeof *LIMITS && !json_key_is(key, LIMITS[i].name))
        i++;
    if (p->problem->status != 0)
        return;
    if (i == sizeof LIMITS / sizeof *LIMITS) {
        field_unknown(p, "limits", key, "wall_ms, cpu_ms, memory_mb, output_kb, files_mb and processes");
        return;
    }
    uint64_t most = *(const uint64_t *)((const char *)p->most + LIMITS[i].field), asked = limit_read(value);
    char param[48], detail[96];
    snprintf(param, sizeof param, "limits.%s", LIMITS[i].name);
    if (value.length > 18 && value.at[0] >= '1' && value.at[0] <= '9' && strspn(value.at, "0123456789") == value.length)
        asked = UINT64_MAX; /* larger than anything here */
    snprintf(detail, sizeof detail, "must be a whole number from %llu to %llu", (unsigned long long)LIMITS[i].least,
             (unsigned long long)most);
    if (asked < LIMITS[i].least)
        refuse(p, param, detail);
    else if (asked > most)
        problem_set(p->problem, 422, "limit_above_maximum", param, "%s %s", param, detail);
    else
        *(uint64_t *)((char *)&p->request.limits + LIMITS[i].field) = asked;
}

/* --- the whole */

static bool is_name(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
        if (!letter && byte != '_' && byte < 0x80 && !(i > 0 && byte >= '0' && byte <= '9'))
            return false;
    }
    return length > 0;
}

static void entry_check(struct parse *p, struct json_slice value)
{
    size_t length = 0;
    if (is_null(value))
        return; /* only the module is run */
    char *text = is_string(value) ? string_take(p, value, &length) : NULL;
    if (p->problem->status == 0 && (text == NULL || length > RUN_PATTERN_MAX || !is_name(text, length)))
        refuse(p, "entry", "must be the name of a function, or null");
    free(text);
}

static void stdin_check(struct parse *p, struct json_slice value)
{
    if (!is_string(value))
        refuse(p, "stdin", "must be a string");
}

static void input_check(struct parse *p, struct json_slice value)
{
    if (value.at[0] != '{' && value.at[0] != '[' && !is_null(value))
        refuse(p, "input", "must be an object (of named arguments) or an array (of arguments)");
}

static void argv_check(struct parse *p, struct json_slice value)
{
    each_check(p, "argv", '[', "must be an array of strings", value, argv_element);
}

static void env_check(struct parse *p, struct json_slice value)
{
    each_check(p, "env", '{', "must be an object of strings", value, env_member);
}

static void fetch_check(struct parse *p, struct json_slice value)
{
    each_check(p, "fetch", '[', "must be an array of patterns", value, fetch_element);
}

static void limits_check(struct parse *p, struct json_slice value)
{
    each_check(p, "limits", '{', "must be an object of whole numbers", value, limit_member);
}

static void runtime_check(struct parse *p, struct json_slice value)
{
    size_t length = 0;
    char *text = is_string(value) ? string_take(p, value, &length) : NULL;
    if (text != NULL && length > 0 && length < sizeof p->request.runtime && strlen(text) == length)
        memcpy(p->request.runtime, text, length + 1);
    else
        refuse(p, "runtime", "must be the name of a runtime: a string");
    free(text);
}

static void stream_check(struct parse *p, struct json_slice value)
{
    if (value.at[0] != 't' && value.at[0] != 'f')
        refuse(p, "stream", "must be true or false");
    p->request.stream = value.at[0] == 't';
}

static void code_check(struct parse *p, struct json_slice value)
{
    p->code = value;
}

static void script_check(struct parse *p, struct json_slice value)
{
    p->script = value;
}

static const struct {
    const char *name;
    void (*check)(struct parse *p, struct json_slice value);
    bool null_is_absent;
} FIELDS[] = {
    { "code", code_check, false },  { "script", script_check, false }, { "entry", entry_check, false },    { "input", input_check, true },
    { "stdin", stdin_check, true }, { "argv", argv_check, true },      { "env", env_check, true },         { "files", files_check, true },
    { "fetch", fetch_check, true }, { "limits", limits_check, true },  { "runtime", runtime_check, true }, { "stream", stream_check, true },
};

static void field_member(void *context, struct json_slice key, struct json_slice value)
{
    struct parse *p = context;
    size_t i = 0;
    if (key.at == NULL)
        return; /* an element: the request is an array, and refused for that */
    while (i < sizeof FIELDS / sizeof *FIELDS && !json_key_is(key, FIELDS[i].name))
        i++;
    if (p->problem->status != 0)
        return;
    if (i == sizeof FIELDS / sizeof *FIELDS)
        field_unknown(p, "", key, "code, entry, input, stdin, argv, env, files, fetch, limits, runtime and stream");
    else if (!FIELDS[i].null_is_absent || !is_null(value))
        FIELDS[i].check(p, value);
}

static void source_check(struct parse *p)
{
    const char *name = p->code.at != NULL || p->script.at == NULL ? "code" : "script";
    struct json_slice source = p->code.at != NULL ? p->code : p->script;
    size_t length = 0;
    if (p->code.at != NULL && p->script.at != NULL) {
        refuse(p, "script", "is another name of code: only one of them may be given");
        return;
    }
    if (source.at == NULL || !is_string(source)) {
        refuse(p, name, source.at == NULL ? "is required: the Python to run" : "must be a string");
        return;
    }
    char *text = string_take(p, source, &length);
    if (text == NULL)
        return;
    if (memchr(text, '\0', length) != NULL)
        refuse(p, name, "must not contain a NUL character");
    else if (text_is_blank(text, length))
        refuse(p, name, "must not be empty");
    free(text);
}

unsigned run_request_parse(const char *body, size_t length, const struct run_limits *most, struct run_request *ret_request,
                           struct problem *ret_problem)
{
    struct problem problem = { 0 }, of_fields = { 0 };
    struct parse p = { .most = most, .problem = &of_fields, .request = { .limits = *most } };
    char error[256], name[NAME_SHOWN + 8] = "";
    struct json_slice where = { 0 };
    snprintf(p.request.runtime, sizeof p.request.runtime, "default");
    int status = length == 0 ? 400 : request_check(body, length, field_member, &p, error, &where);
    if (where.at != NULL)
        name_show(where, name, sizeof name);
    if (length == 0)
        problem_set(&problem, 400, "bad_request", "", "Request body is empty: a JSON object with code is expected");
    else if (status != 0) /* whatever the fields seemed to be, it is no JSON */
        problem_set(&problem, (unsigned)status, status == 500 ? "internal" : "bad_request", name, "%s", error);
    else if (of_fields.status == 0 && p.files_bytes > p.request.limits.files_mb * MIB) /* which may stand behind the files */
        problem_set(&problem, 413, "too_large", "files", "files hold more than %llu MiB", (unsigned long long)p.request.limits.files_mb);
    else if (of_fields.status == 0)
        source_check(&p);
    if (problem.status == 0)
        problem = of_fields;
    if (problem.status != 0)
        *ret_problem = problem;
    else
        *ret_request = p.request;
    return problem.status;
}
