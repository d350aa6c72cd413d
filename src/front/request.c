#include "front/request.h"
#include "front/json_check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_BAD_REQUEST = 400, STATUS_SERVER_ERROR = 500, ERROR_ROOM = 256 };

/* How many bytes of the UTF-8 at `at` are one white space character, as Python's str.strip() sees it; 0 if none is. */
static size_t space_length(const char *at, size_t left)
{
    if (*at == ' ' || (*at >= '\t' && *at <= '\r') || (*at >= 0x1c && *at <= 0x1f))
        return 1;
    static const char spaces[][4] = {
        "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80",                                                 /* U+0085, 00A0, 1680 */
        "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", /* U+2000 to 2005 */
        "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a",                 /* U+2006 to 200A */
        "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80",                 /* U+2028, 2029, 202F, 205F, 3000 */
    };
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        size_t length = strlen(spaces[i]);
        if (length <= left && memcmp(at, spaces[i], length) == 0)
            return length;
    }
    return 0;
}

bool text_is_blank(const char *text, size_t length)
{
    size_t at = 0, space = 1;
    for (; at < length && space > 0; at += space)
        space = space_length(text + at, length - at);
    return space > 0;
}

static int request_refuse(char error[static ERROR_ROOM], const char *sentence)
{
    snprintf(error, ERROR_ROOM, "%s", sentence);
    return STATUS_BAD_REQUEST;
}

static int check_refuse(enum json_verdict verdict, const struct json_error *why, char error[static ERROR_ROOM])
{
    switch (verdict) {
    case JSON_NOT_UTF8:
        snprintf(error, ERROR_ROOM, "Request body is not valid UTF-8 (byte %zu)", why->offset);
        break;
    case JSON_TOO_DEEP:
        snprintf(error, ERROR_ROOM, "Request body is nested too deeply (at most %d levels)", REQUEST_DEPTH_MAX);
        break;
    case JSON_REPEATED_KEY:
        snprintf(error, ERROR_ROOM, "Request body repeats a key (byte %zu)", why->offset);
        break;
    case JSON_LONE_SURROGATE:
        snprintf(error, ERROR_ROOM, "Request body holds a lone surrogate (byte %zu)", why->offset);
        break;
    case JSON_TOO_MANY_KEYS:
        snprintf(error, ERROR_ROOM, "Request body has too many keys, or too long ones (at most %d, and %d bytes in all)", JSON_KEYS_MAX,
                 JSON_KEY_BYTES_MAX);
        break;
    case JSON_NO_MEMORY:
        snprintf(error, ERROR_ROOM, "Out of memory while reading the request body");
        return STATUS_SERVER_ERROR;
    case JSON_OK:
    case JSON_NOT_JSON:
        snprintf(error, ERROR_ROOM, "Request body is not valid JSON: %s at byte %zu", why->what, why->offset);
        break;
    }
    return STATUS_BAD_REQUEST;
}

/* A json_member: keeps the script's raw value. There is at most one, since repeated keys are refused. */
static void script_keep(void *context, struct json_slice key, struct json_slice value)
{
    struct json_slice *script = context;
    if (json_key_is(key, "script"))
        *script = value;
}

/* Of a valid JSON text. */
static bool is_object(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length && memchr(" \t\r\n", text[at], 4))
        at++;
    return at < length && text[at] == '{';
}

/* `script` is the raw value, quotes and all. */
static int script_decode(struct json_slice script, struct request *ret_request, char error[static ERROR_ROOM])
{
    const struct json_slice inside = { .at = script.at + 1, .length = script.length - 2 };
    if (inside.length == 0)
        return request_refuse(error, "'script' must not be empty");
    char *text = malloc(inside.length);
    if (!text)
        return check_refuse(JSON_NO_MEMORY, NULL, error);
    size_t length = json_string_decode(inside, text);
    const char *wrong = NULL;
    if (memchr(text, '\0', length)) /* Python's compile() refuses it too, but with a traceback */
        wrong = "'script' must not contain a NUL character";
    else if (text_is_blank(text, length))
        wrong = "'script' must not be empty";
    if (wrong) {
        free(text);
        return request_refuse(error, wrong);
    }
    *ret_request = (struct request) { .script = text, .length = length };
    return 0;
}

int request_check(const char *body, size_t length, json_member *member, void *context, char error[static ERROR_ROOM],
                  struct json_slice *ret_where)
{
    const struct json_rules rules = { .depth_max = REQUEST_DEPTH_MAX, .repeated_keys_refused = true, .lone_surrogates_refused = true };
    struct json_error why;
    enum json_verdict verdict = json_check(body, length, &rules, member, context, &why);
    if (verdict != JSON_OK) {
        *ret_where = why.member;
        return check_refuse(verdict, &why, error);
    }
    return is_object(body, length) ? 0 : request_refuse(error, "Request body must be a JSON object");
}

int request_parse(const char *body, size_t length, struct request *ret_request, char error[static ERROR_ROOM])
{
    struct json_slice script = { 0 }, where;
    if (length == 0)
        return request_refuse(error, "Request body is empty: a JSON object with a 'script' string is expected");
    int status = request_check(body, length, script_keep, &script, error, &where);
    if (status != 0)
        return status;
    if (!script.at)
        return request_refuse(error, "'script' field is required");
    if (script.at[0] != '"')
        return request_refuse(error, "'script' must be a string");
    return script_decode(script, ret_request, error);
}
