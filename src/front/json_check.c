/* How it works: one loop over what the grammar expects next, a stack of bits for the open containers (1: object), and a stack of the keys
 * of all open objects. A key is only a pointer into the text; when its object closes, that object's keys are sorted and neighbours
 * compared. A hash table would be faster on small objects, but strangers choose the keys: sorting costs n log n whatever they choose. */
#include "front/json_check.h"

#include "front/sort.h"

#include <stdlib.h>
#include <string.h>

enum expect {
    EXPECT_VALUE,
    EXPECT_VALUE_OR_END, /* just behind '[' */
    EXPECT_KEY,
    EXPECT_KEY_OR_END, /* just behind '{' */
    EXPECT_MORE,       /* behind a value: a comma, an end, or nothing at the top */
};

union key {
    const unsigned char *at; /* the first byte inside the quotes; the closing quote, known to be there, ends it */
    size_t outer;            /* in the one entry below an object's keys: where the keys of the object around it begin */
};

struct checker {
    const unsigned char *text;
    size_t length, at;
    const struct json_rules *rules;

    uint64_t *kinds; /* bit i: whether the container at depth i is an object */
    size_t kinds_room;
    uint32_t depth;

    union key *keys;
    size_t keys_used, keys_room, keys_begin; /* keys_begin: the first key of the innermost object */

    json_member *member;
    void *context;
    struct json_slice member_key;
    size_t member_value; /* where the value of the top-level member that is being read begins */
    bool in_member;
    size_t key_count, key_bytes; /* of all that are compared */

    struct json_error *error;
};

/* The text of a checked string */

static int hex_digit(unsigned char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The four digits of a \u escape; -1 if they aren't. */
static int32_t unit_read(const unsigned char *digits)
{
    int32_t unit = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(digits[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static bool unit_is_high(int32_t unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool unit_is_low(int32_t unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* What a backslash and this byte mean; 0 if nothing. */
static unsigned char escape_meaning(unsigned char byte)
{
    static const unsigned char meanings[UINT8_MAX + 1] = {
        ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
    };
    return meanings[byte];
}

/* How many bytes the UTF-8 sequence at `at` has; 0 if it is none. Table 3-7 of the Unicode standard: the second byte's range is what keeps
 * out overlong forms, surrogates and what lies above U+10FFFF. */
static size_t sequence_length(const unsigned char *at, size_t left)
{
    unsigned char lead = at[0], least = 0x80, most = 0xbf;
    size_t length;
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    if (lead < 0xe0) {
        length = 2;
    } else if (lead < 0xf0) {
        length = 3;
        least = lead == 0xe0 ? 0xa0 : least;
        most = lead == 0xed ? 0x9f : most;
    } else {
        length = 4;
        least = lead == 0xf0 ? 0x90 : least;
        most = lead == 0xf4 ? 0x8f : most;
    }
    if (left < length || at[1] < least || at[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* Takes one code point of a checked string off `*at`. `left` bounds the look behind a high surrogate; SIZE_MAX where a closing quote does.
 */
static uint32_t point_take(const unsigned char **at, size_t left)
{
    const unsigned char *from = *at;
    if (from[0] == '\\' && from[1] != 'u') {
        *at += 2;
        return escape_meaning(from[1]);
    }
    if (from[0] == '\\') {
        int32_t unit = unit_read(from + 2);
        *at += 6;
        if (unit_is_high(unit) && left >= 12 && from[6] == '\\' && from[7] == 'u') {
            int32_t low = unit_read(from + 8);
            if (unit_is_low(low)) {
                *at += 6;
                unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        return (uint32_t)unit;
    }
    if (from[0] < 0x80) {
        *at += 1;
        return from[0];
    }
    size_t more = from[0] < 0xe0 ? 1 : from[0] < 0xf0 ? 2 : 3;
    uint32_t point = from[0] & (0x3fu >> more);
    for (size_t i = 1; i <= more; i++)
        point = point << 6 | (from[i] & 0x3fu);
    *at += more + 1;
    return point;
}

/* Orders two keys, each ended by its quote, by their code points. */
static int keys_order(const unsigned char *a, const unsigned char *b)
{
    for (;;) {
        while (*a == *b && *a != '"' && *a != '\\') {
            a++;
            b++;
        }
        if (*a == '"' || *b == '"')
            return *a == *b ? 0 : *a == '"' ? -1 : 1;
        /* Two raw bytes that differ, perhaps inside of a sequence: the order of UTF-8's bytes is the order of its code points. */
        if (*a != '\\' && *b != '\\')
            return *a < *b ? -1 : 1;
        uint32_t point_a = point_take(&a, SIZE_MAX), point_b = point_take(&b, SIZE_MAX);
        if (point_a != point_b)
            return point_a < point_b ? -1 : 1;
    }
}

/* For qsort. Equal keys come in the order of the text, so that a text gives the same error with every C library. */
static int keys_sort_order(const void *left, const void *right)
{
    const unsigned char *a = ((const union key *)left)->at, *b = ((const union key *)right)->at;
    int order = keys_order(a, b);
    return order != 0 ? order : a < b ? -1 : a > b;
}

bool json_key_is(struct json_slice key, const char *name)
{
    if (key.at == NULL)
        return false;
    const unsigned char *at = (const unsigned char *)key.at, *end = at + key.length;
    for (; at < end; name++)
        if (*name == '\0' || point_take(&at, (size_t)(end - at)) != (unsigned char)*name)
            return false;
    return *name == '\0';
}

static size_t point_encode(uint32_t point, char *to)
{
    if (point < 0x80) {
        to[0] = (char)point;
        return 1;
    }
    size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = length - 1; i > 0; i--) {
        to[i] = (char)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    to[0] = (char)(leads[length] | point);
    return length;
}

size_t json_string_decode(struct json_slice string, char *to)
{
    const char *at = string.at, *end = string.at + string.length;
    size_t used = 0;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((escape ? escape : end) - at);
        memcpy(to + used, at, plain);
        used += plain;
        at += plain;
        if (escape) {
            const unsigned char *from = (const unsigned char *)at;
            uint32_t point = point_take(&from, (size_t)(end - at));
            used += point_encode(point, to + used); /* never longer than the escape: 2 bytes make 1, 6 make up to 3, 12 make 4 */
            at = (const char *)from;
        }
    }
    return used;
}

/* The check */

/* A byte that is no UTF-8 is that first, wherever the grammar stumbles over it. */
static enum json_verdict check_fail(struct checker *c, enum json_verdict verdict, size_t offset, const char *what)
{
    if (verdict == JSON_NOT_JSON && offset < c->length && sequence_length(c->text + offset, c->length - offset) == 0) {
        verdict = JSON_NOT_UTF8;
        what = "this byte isn't UTF-8";
    }
    *c->error = (struct json_error) { .offset = offset, .what = what, .member = c->in_member ? c->member_key : (struct json_slice) { 0 } };
    return verdict;
}

static enum json_verdict memory_fail(struct checker *c)
{
    return check_fail(c, JSON_NO_MEMORY, c->at, "out of memory");
}

/* The byte that is next, or -1 at the end. */
static int byte_next(const struct checker *c)
{
    return c->at < c->length ? c->text[c->at] : -1;
}

static bool is_digit(int byte)
{
    return byte >= '0' && byte <= '9';
}

static void space_skip(struct checker *c)
{
    for (int byte = byte_next(c); byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; byte = byte_next(c))
        c->at++;
}

/* Passes what stands for itself in a string: ASCII but quote, backslash and control characters. Nearly all of a big result is that, so it
 * goes eight bytes at a time: the top bit of a byte in `flags` says that it is none of the plain. A borrow can only spoil bytes behind
 * one that is flagged rightly, so "no flag at all" is exact. */
static void plain_skip(struct checker *c)
{
    const uint64_t ones = 0x0101010101010101u;
    while (c->length - c->at >= 8) {
        uint64_t eight;
        memcpy(&eight, c->text + c->at, 8);
        uint64_t flags = eight | (eight - ones * 0x20) | ((eight ^ ones * '"') - ones) | ((eight ^ ones * '\\') - ones);
        if (flags & ones * 0x80)
            break;
        c->at += 8;
    }
    for (int byte = byte_next(c); byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; byte = byte_next(c))
        c->at++;
}

/* At a \u escape. Half a pair is legal by the grammar and no character by Unicode. */
static enum json_verdict unit_check(struct checker *c)
{
    const unsigned char *from = c->text + c->at;
    size_t left = c->length - c->at;
    for (size_t i = 2; i < 6; i++)
        if (i >= left || hex_digit(from[i]) < 0)
            return check_fail(c, JSON_NOT_JSON, c->at + i, "four hexadecimal digits were expected");
    int32_t unit = unit_read(from + 2);
    bool pair = unit_is_high(unit) && left >= 12 && from[6] == '\\' && from[7] == 'u' && unit_is_low(unit_read(from + 8));
    if (c->rules->lone_surrogates_refused && !pair && (unit_is_high(unit) || unit_is_low(unit)))
        return check_fail(c, JSON_LONE_SURROGATE, c->at, "half of a surrogate pair stands alone");
    c->at += pair ? 12 : 6;
    return JSON_OK;
}

static enum json_verdict escape_check(struct checker *c)
{
    if (c->at + 1 < c->length && c->text[c->at + 1] == 'u')
        return unit_check(c);
    if (c->at + 1 >= c->length || escape_meaning(c->text[c->at + 1]) == 0)
        return check_fail(c, JSON_NOT_JSON, c->at + 1, "an escape (one of \"\\/bfnrtu) was expected");
    c->at += 2;
    return JSON_OK;
}

/* At the opening quote; leaves behind the closing one. */
static enum json_verdict string_check(struct checker *c)
{
    c->at++;
    for (;;) {
        plain_skip(c);
        int byte = byte_next(c);
        if (byte == '"') {
            c->at++;
            return JSON_OK;
        }
        if (byte == '\\') {
            enum json_verdict verdict = escape_check(c);
            if (verdict != JSON_OK)
                return verdict;
        } else if (byte >= 0x80) {
            size_t length = sequence_length(c->text + c->at, c->length - c->at);
            if (length == 0)
                return check_fail(c, JSON_NOT_UTF8, c->at, "this byte isn't UTF-8");
            c->at += length;
        } else {
            return check_fail(c, JSON_NOT_JSON, c->at, byte < 0 ? "a closing '\"' was expected" : "a control character must be escaped");
        }
    }
}

static enum json_verdict digits_check(struct checker *c)
{
    if (!is_digit(byte_next(c)))
        return check_fail(c, JSON_NOT_JSON, c->at, "a digit was expected");
    while (is_digit(byte_next(c)))
        c->at++;
    return JSON_OK;
}

static enum json_verdict number_check(struct checker *c)
{
    c->at += byte_next(c) == '-';
    bool zero = byte_next(c) == '0';
    size_t first = c->at;
    enum json_verdict verdict = digits_check(c);
    if (verdict == JSON_OK && zero && c->at - first > 1)
        return check_fail(c, JSON_NOT_JSON, first, "a number has no leading zeros");
    if (verdict == JSON_OK && byte_next(c) == '.') {
        c->at++;
        verdict = digits_check(c);
    }
    if (verdict == JSON_OK && (byte_next(c) == 'e' || byte_next(c) == 'E')) {
        c->at++;
        c->at += byte_next(c) == '+' || byte_next(c) == '-';
        verdict = digits_check(c);
    }
    return verdict;
}

static enum json_verdict literal_check(struct checker *c, const char *literal)
{
    size_t length = strlen(literal);
    if (c->length - c->at < length || memcmp(c->text + c->at, literal, length) != 0)
        return check_fail(c, JSON_NOT_JSON, c->at, "a value was expected");
    c->at += length;
    return JSON_OK;
}

static bool kind_is_object(const struct checker *c, uint32_t depth)
{
    return c->kinds[depth / 64] >> depth % 64 & 1;
}

static enum json_verdict key_push(struct checker *c, union key key)
{
    if (c->keys_used == c->keys_room) {
        size_t room = c->keys_room ? c->keys_room * 2 : 32;
        union key *grown = reallocarray(c->keys, room, sizeof *grown);
        if (!grown)
            return memory_fail(c);
        c->keys = grown;
        c->keys_room = room;
    }
    c->keys[c->keys_used++] = key;
    return JSON_OK;
}

/* Of all repetitions in the object, the first in the text is the one that is named. */
static enum json_verdict keys_check(struct checker *c)
{
    union key *keys = c->keys + c->keys_begin;
    size_t count = c->keys_used - c->keys_begin;
    if (count < 2)
        return JSON_OK;
    sort(keys, count, sizeof *keys, keys_sort_order);
    const unsigned char *repeated = NULL;
    for (size_t i = 1; i < count; i++)
        if ((!repeated || keys[i].at < repeated) && keys_order(keys[i - 1].at, keys[i].at) == 0)
            repeated = keys[i].at;
    if (repeated)
        return check_fail(c, JSON_REPEATED_KEY, (size_t)(repeated - c->text) - 1, "this key was already in the object");
    return JSON_OK;
}

static enum json_verdict container_open(struct checker *c, bool object)
{
    if (c->depth >= c->rules->depth_max)
        return check_fail(c, JSON_TOO_DEEP, c->at, "arrays and objects are nested too deeply");
    if (c->depth / 64 >= c->kinds_room) {
        size_t room = c->kinds_room ? c->kinds_room * 2 : 4;
        uint64_t *grown = reallocarray(c->kinds, room, sizeof *grown);
        if (!grown)
            return memory_fail(c);
        c->kinds = grown;
        c->kinds_room = room;
    }
    uint64_t bit = UINT64_C(1) << c->depth % 64, *kinds = &c->kinds[c->depth / 64];
    *kinds = object ? *kinds | bit : *kinds & ~bit;
    if (object && c->rules->repeated_keys_refused) {
        enum json_verdict verdict = key_push(c, (union key) { .outer = c->keys_begin });
        if (verdict != JSON_OK)
            return verdict;
        c->keys_begin = c->keys_used;
    }
    c->depth++;
    c->at++;
    return JSON_OK;
}

/* Behind a value. */
static void value_finish(struct checker *c)
{
    if (c->depth == 1)
        c->in_member = false;
    if (!c->member || c->depth != 1)
        return;
    const char *value = (const char *)c->text + c->member_value;
    c->member(c->context, kind_is_object(c, 0) ? c->member_key : (struct json_slice) { 0 },
              (struct json_slice) { .at = value, .length = c->at - c->member_value });
}

/* At the innermost container's end, which is known to be of the right kind. */
static enum json_verdict container_close(struct checker *c, enum expect *next)
{
    if (kind_is_object(c, c->depth - 1) && c->rules->repeated_keys_refused) {
        enum json_verdict verdict = keys_check(c);
        if (verdict != JSON_OK)
            return verdict;
        c->keys_used = c->keys_begin - 1;
        c->keys_begin = c->keys[c->keys_used].outer;
    }
    c->depth--;
    c->at++;
    value_finish(c);
    *next = EXPECT_MORE;
    return JSON_OK;
}

static enum json_verdict scalar_check(struct checker *c)
{
    int byte = byte_next(c);
    switch (byte) {
    case '"':
        return string_check(c);
    case 't':
        return literal_check(c, "true");
    case 'f':
        return literal_check(c, "false");
    case 'n':
        return literal_check(c, "null");
    default:
        if (byte == '-' || is_digit(byte))
            return number_check(c);
        return check_fail(c, JSON_NOT_JSON, c->at, "a value was expected");
    }
}

static enum json_verdict value_check(struct checker *c, enum expect *next)
{
    int byte = byte_next(c);
    if (c->depth == 1) {
        c->member_value = c->at;
        c->in_member = kind_is_object(c, 0);
    }
    if (byte == '{' || byte == '[') {
        *next = byte == '{' ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
        return container_open(c, byte == '{');
    }
    enum json_verdict verdict = scalar_check(c);
    if (verdict == JSON_OK)
        value_finish(c);
    *next = EXPECT_MORE;
    return verdict;
}

static enum json_verdict key_check(struct checker *c, const char *what, enum expect *next)
{
    size_t begin = c->at + 1;
    if (byte_next(c) != '"')
        return check_fail(c, JSON_NOT_JSON, c->at, what);
    enum json_verdict verdict = string_check(c);
    if (verdict == JSON_OK && c->rules->repeated_keys_refused) {
        c->key_bytes += c->at - begin;
        if (++c->key_count > JSON_KEYS_MAX || c->key_bytes > JSON_KEY_BYTES_MAX)
            return check_fail(c, JSON_TOO_MANY_KEYS, begin - 1, "there are too many keys");
        verdict = key_push(c, (union key) { .at = c->text + begin });
    }
    if (verdict != JSON_OK)
        return verdict;
    if (c->depth == 1)
        c->member_key = (struct json_slice) { .at = (const char *)c->text + begin, .length = c->at - 1 - begin };
    space_skip(c);
    if (byte_next(c) != ':')
        return check_fail(c, JSON_NOT_JSON, c->at, "a colon was expected");
    c->at++;
    *next = EXPECT_VALUE;
    return JSON_OK;
}

/* Inside a container, behind a value. */
static enum json_verdict more_check(struct checker *c, enum expect *next)
{
    bool object = kind_is_object(c, c->depth - 1);
    int byte = byte_next(c);
    if (byte == (object ? '}' : ']'))
        return container_close(c, next);
    if (byte != ',')
        return check_fail(c, JSON_NOT_JSON, c->at, object ? "a comma or '}' was expected" : "a comma or ']' was expected");
    c->at++;
    *next = object ? EXPECT_KEY : EXPECT_VALUE;
    return JSON_OK;
}

static enum json_verdict step_check(struct checker *c, enum expect *next)
{
    int byte = byte_next(c);
    switch (*next) {
    case EXPECT_VALUE_OR_END:
        return byte == ']' ? container_close(c, next) : value_check(c, next);
    case EXPECT_VALUE:
        return value_check(c, next);
    case EXPECT_KEY_OR_END:
        return byte == '}' ? container_close(c, next) : key_check(c, "a key or '}' was expected", next);
    case EXPECT_KEY:
        return key_check(c, "a key was expected", next);
    case EXPECT_MORE:
        break;
    }
    return more_check(c, next);
}

static enum json_verdict text_check(struct checker *c)
{
    enum expect next = EXPECT_VALUE;
    do {
        space_skip(c);
        enum json_verdict verdict = step_check(c, &next);
        if (verdict != JSON_OK)
            return verdict;
    } while (c->depth > 0);
    space_skip(c);
    return c->at == c->length ? JSON_OK : check_fail(c, JSON_NOT_JSON, c->at, "the end of the text was expected");
}

enum json_verdict json_check(const char *text, size_t length, const struct json_rules *rules, json_member *member, void *context,
                             struct json_error *ret_error)
{
    struct checker c = {
        .text = (const unsigned char *)text,
        .length = length,
        .rules = rules,
        .member = member,
        .context = context,
        .error = ret_error,
    };
    enum json_verdict verdict = text_check(&c);
    free(c.kinds);
    free(c.keys);
    return verdict;
}

enum json_verdict json_each(struct json_slice value, json_member *member, void *context)
{
    const struct json_rules rules = { .depth_max = UINT32_MAX };
    struct json_error ignored;
    return json_check(value.at, value.length, &rules, member, context, &ignored);
}
