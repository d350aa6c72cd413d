/* json_check on any bytes, beside jansson as the oracle: whatever one takes, the other has to take, but for jansson's own limits. Build:
 * clang -std=gnu17 -g -fsanitize=fuzzer,address -Isrc fuzz/json_check_fuzz.c src/front/json_check.c -ljansson */
#include "front/json_check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below jansson's 2048, so that ours is the limit that is met. */
static const struct json_rules STRICT = { .depth_max = 1000, .repeated_keys_refused = true, .lone_surrogates_refused = true };

struct seen {
    const char *end; /* of the member seen last */
};

static void promise(bool kept, const char *what)
{
    if (!kept) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    json_object_seed(1); /* the same run each time */
    return 0;
}

/* Into exactly the room that the header calls enough. */
static void string_try(struct json_slice inside)
{
    char *to = malloc(inside.length ? inside.length : 1);
    if (!to)
        return;
    promise(json_string_decode(inside, to) <= inside.length, "a decoded string is never longer");
    free(to);
}

static void member_try(void *context, struct json_slice key, struct json_slice value)
{
    struct seen *seen = context;
    struct json_error error;
    promise(value.at > seen->end && value.length > 0, "members come in order");
    if (key.at) { /* else it is an array's element */
        promise(key.at > seen->end && value.at > key.at + key.length, "a key comes before its value");
        promise(key.at[-1] == '"' && key.at[key.length] == '"', "a key lies between its quotes");
        string_try(key);
        json_key_is(key, "script");
    }
    seen->end = value.at + value.length;
    promise(json_check(value.at, value.length, &STRICT, NULL, NULL, &error) == JSON_OK, "a member's value is JSON by itself");
    promise(!memchr(" \t\r\n", value.at[0], 4) && !memchr(" \t\r\n", seen->end[-1], 4), "no white space around a value");
    if (value.at[0] == '"')
        string_try((struct json_slice) { .at = value.at + 1, .length = value.length - 2 });
}

/* What the one refuses by a limit that the other doesn't have. */
static bool is_janssons_limit(enum json_error_code code)
{
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key || code == json_error_null_character;
}

static void oracle_ask(const char *text, size_t size, enum json_verdict verdict)
{
    json_error_t why;
    json_t *tree = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (tree && !memchr(text, '\0', size)) /* a raw NUL is the end of the text to jansson 2.14, whatever follows */
        promise(verdict == JSON_OK || verdict == JSON_TOO_DEEP, "what jansson takes is JSON");
    else if (!tree && verdict == JSON_OK)
        promise(is_janssons_limit(json_error_code(&why)), "what isn't JSON is refused");
    json_decref(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_rules lenient = { .depth_max = STRICT.depth_max };
    const char *text = (const char *)data;
    struct seen seen = { .end = text };
    struct json_error error = { 0 }, other = { 0 };

    enum json_verdict verdict = json_check(text, size, &STRICT, NULL, NULL, &error);
    if (verdict == JSON_OK) {
        promise(json_check(text, size, &STRICT, member_try, &seen, &other) == JSON_OK, "watching members changes nothing");
        promise(json_check(text, size, &lenient, NULL, NULL, &other) == JSON_OK, "fewer rules refuse nothing more");
    } else {
        promise(error.what && error.offset <= size, "an error says what and where");
        promise(verdict != JSON_NOT_UTF8 || data[error.offset] >= 0x80, "ASCII is UTF-8");
        /* The grammar's errors don't depend on the rules. */
        enum json_verdict again = json_check(text, size, &lenient, NULL, NULL, &other);
        if (verdict == JSON_NOT_JSON || verdict == JSON_NOT_UTF8 || verdict == JSON_TOO_DEEP)
            promise(again == verdict && other.offset == error.offset, "the same error by fewer rules");
    }
    oracle_ask(text, size, verdict);
    return 0;
}
