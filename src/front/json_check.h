/* A strict JSON checker (RFC 8259) without a tree: it says whether bytes are one JSON text, and shows the members of the top-level object
 * as slices of the input. Nothing is re-encoded, so numbers keep their spelling. Not recursive; memory is bounded by the input's length. */
#ifndef VIVARY_FRONT_JSON_CHECK_H
#define VIVARY_FRONT_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_slice {
    const char *at; /* into the checked text */
    size_t length;
};

struct json_rules {
    uint32_t depth_max;           /* of arrays and objects in each other; 1 allows {} and [] */
    bool repeated_keys_refused;   /* in every object, compared as decoded; then there are at most JSON_KEYS_MAX, and JSON_KEY_BYTES_MAX of
                                     them */
    bool lone_surrogates_refused; /* an escaped half of a UTF-16 pair, in any string or key */
};

/* Of a text whose keys are compared: comparing takes a while, and strangers choose them. */
enum { JSON_KEYS_MAX = 250000, JSON_KEY_BYTES_MAX = 2 << 20 };

enum json_verdict {
    JSON_OK,
    JSON_NOT_JSON, /* not by the grammar; also empty */
    JSON_NOT_UTF8,
    JSON_TOO_DEEP,
    JSON_REPEATED_KEY,
    JSON_LONE_SURROGATE,
    JSON_TOO_MANY_KEYS,
    JSON_NO_MEMORY,
};

struct json_error {
    size_t offset;            /* of the byte that is wrong */
    const char *what;         /* a static phrase for people: "a comma or '}' was expected" */
    struct json_slice member; /* the name of the top-level object's member in whose value that byte is; `at` NULL: in none */
};

/* Called once for each member of the top-level object, or element of the top-level array, in order. `key` has its quotes stripped but is
 * still escaped, and `at` NULL for an element; `value` is the raw text of the value without white space around it, whose first byte tells
 * its type. Called while checking: the members seen count only if the verdict is JSON_OK. */
typedef void json_member(void *context, struct json_slice key, struct json_slice value);

/* `member` may be NULL. *ret_error is filled unless the verdict is JSON_OK. */
enum json_verdict json_check(const char *text, size_t length, const struct json_rules *rules, json_member *member, void *context,
                             struct json_error *ret_error);

/* The members or elements of a value inside a text that was checked already. Nothing happens if it is neither object nor array. JSON_OK,
 * or JSON_NO_MEMORY, and some weren't shown. */
enum json_verdict json_each(struct json_slice value, json_member *member, void *context);

/* Whether the escaped key is `name` (plain ASCII) once decoded. */
bool json_key_is(struct json_slice key, const char *name);

/* Decodes the inside of a checked string (no quotes) to UTF-8. `to` has room for slice.length bytes, which is always enough. Lone
 * surrogates must have been refused by the check. Returns the bytes written. */
size_t json_string_decode(struct json_slice string, char *to);

#endif
