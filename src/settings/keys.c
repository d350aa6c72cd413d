#include "settings/keys.h"

#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { RATE_MOST = 100000, MILLI = 1000, SHOWN_MAX = 60 };

enum field_kind { FIELD_NUMBER, FIELD_RATE, FIELD_RUNTIMES };

static const struct field_rule {
    const char *name;
    size_t field;
    enum field_kind kind;
    uint32_t most; /* of a number; the least is always 1, since 0 stands for no limit */
} FIELDS[] = {
    { "rate", 0, FIELD_RATE, 0 },
    { "burst", offsetof(struct key, burst), FIELD_NUMBER, 100000 },
    { "at-once", offsetof(struct key, at_once), FIELD_NUMBER, 65536 },
    { "share", offsetof(struct key, share), FIELD_NUMBER, 1000 },
    { "wall-ms", offsetof(struct key, wall_ms), FIELD_NUMBER, UINT32_MAX },
    { "cpu-ms", offsetof(struct key, cpu_ms), FIELD_NUMBER, UINT32_MAX },
    { "memory-mb", offsetof(struct key, memory_mb), FIELD_NUMBER, UINT32_MAX },
    { "output-kb", offsetof(struct key, output_kb), FIELD_NUMBER, UINT32_MAX },
    { "files-mb", offsetof(struct key, files_mb), FIELD_NUMBER, UINT32_MAX },
    { "processes", offsetof(struct key, processes), FIELD_NUMBER, UINT32_MAX },
    { "runtimes", 0, FIELD_RUNTIMES, 0 },
};

#define FIELD_NAMES "rate, burst, at-once, share, wall-ms, cpu-ms, memory-mb, output-kb, files-mb, processes and runtimes"

/* A part of the text, not ended by a NUL. */
struct span {
    const char *at;
    size_t length;
};

struct reading {
    struct keys keys;
    uint32_t room;            /* of keys.at */
    size_t line;              /* its number, from 1 */
    size_t lines[KEYS_MAX];   /* where each key stands */
    char *error;              /* KEYS_ERROR_ROOM bytes */
    bool seen[COUNT(FIELDS)]; /* in this line */
};

static int __attribute__((format(printf, 2, 3))) reading_fail(struct reading *reading, const char *format, ...)
{
    int used = snprintf(reading->error, KEYS_ERROR_ROOM, "line %zu: ", reading->line);
    va_list values;
    va_start(values, format);
    vsnprintf(reading->error + used, KEYS_ERROR_ROOM - (size_t)used, format, values);
    va_end(values);
    return -1;
}

/* A value as an error may show it: the beginning, and no byte that does something to a terminal. */
static const char *span_show(struct span span, char to[static SHOWN_MAX + 1])
{
    size_t length = span.length < SHOWN_MAX ? span.length : SHOWN_MAX;
    for (size_t i = 0; i < length; i++)
        to[i] = span.at[i];
    for (size_t i = 0; i < length; i++)
        if (to[i] < ' ' || to[i] > '~')
            to[i] = '?';
    to[length] = '\0';
    return to;
}

static bool span_is(struct span span, const char *text)
{
    return strlen(text) == span.length && memcmp(span.at, text, span.length) == 0;
}

/* Takes what stands before `mark` off `rest`, and the mark too; without one, all of it. */
static struct span span_cut(struct span *rest, char mark)
{
    const char *end = rest->length > 0 ? memchr(rest->at, mark, rest->length) : NULL;
    struct span part = { rest->at, end != NULL ? (size_t)(end - rest->at) : rest->length };
    size_t taken = end != NULL ? part.length + 1 : part.length;
    *rest = (struct span) { rest->at + taken, rest->length - taken };
    return part;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* The next word of a line; of length 0 at its end, which is also where a comment starts. */
static struct span word_take(struct span *line)
{
    size_t start = 0;
    while (start < line->length && is_space(line->at[start]))
        start++;
    if (start < line->length && line->at[start] == '#')
        start = line->length;
    size_t end = start;
    while (end < line->length && !is_space(line->at[end]))
        end++;
    struct span word = { line->at + start, end - start };
    *line = (struct span) { line->at + end, line->length - end };
    return word;
}

/* Letters and digits are ASCII's: isalnum() would ask the locale. */
static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_' || byte == '.' ||
           byte == '-';
}

/* How many bytes at the beginning may stand in a name. */
static size_t name_span(struct span name)
{
    size_t i = 0;
    while (i < name.length && is_name_byte(name.at[i]))
        i++;
    return i;
}

bool key_name_valid(const char *name, size_t length)
{
    return length > 0 && length < KEY_NAME_ROOM && name_span((struct span) { name, length }) == length;
}

static bool number_read(struct span digits, uint32_t most, uint32_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < digits.length; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(digits.at[i] - '0');
        if (number > most)
            return false;
    }
    *ret_number = (uint32_t)number;
    return digits.length > 0;
}

/* A decimal without sign or exponent, kept in thousandths: the arithmetic stays exact, and asks no locale for its point. */
static bool rate_read(struct span value, uint32_t *ret_milli)
{
    struct span decimals = value;
    struct span whole = span_cut(&decimals, '.');
    bool has_point = whole.length < value.length;
    uint32_t number, part = 0;
    if (!number_read(whole, RATE_MOST, &number))
        return false;
    if (has_point && (decimals.length > 3 || !number_read(decimals, MILLI - 1, &part)))
        return false;
    for (size_t i = decimals.length; has_point && i < 3; i++)
        part *= 10;
    *ret_milli = number * MILLI + part;
    return *ret_milli >= 1 && *ret_milli <= RATE_MOST * MILLI;
}

static int runtimes_read(struct reading *reading, struct span value, struct key *key)
{
    char shown[SHOWN_MAX + 1];
    for (bool more = true; more;) {
        struct span before = value;
        struct span name = span_cut(&value, ',');
        more = name.length < before.length;
        if (name.length == 0 || name.length >= KEY_RUNTIME_ROOM || name_span(name) < name.length)
            return reading_fail(reading,
                                "runtimes takes names with commas between, each of 1 to %d letters, digits, '_', '.' and '-', not '%s'",
                                KEY_RUNTIME_ROOM - 1, span_show(name, shown));
        for (uint32_t i = 0; i < key->runtime_count; i++)
            if (span_is(name, key->runtimes[i]))
                return reading_fail(reading, "runtimes takes each name once, not '%s' twice", key->runtimes[i]);
        if (key->runtime_count == KEY_RUNTIMES_MAX)
            return reading_fail(reading, "runtimes takes at most %d names", KEY_RUNTIMES_MAX);
        memcpy(key->runtimes[key->runtime_count++], name.at, name.length);
    }
    return 0;
}

static int value_read(struct reading *reading, const struct field_rule *rule, struct span value, struct key *key)
{
    char shown[SHOWN_MAX + 1];
    switch (rule->kind) {
    case FIELD_RUNTIMES:
        return runtimes_read(reading, value, key);
    case FIELD_RATE:
        if (!rate_read(value, &key->rate_milli))
            return reading_fail(reading, "rate takes a number from 0.001 to %d with at most three decimals, not '%s'", RATE_MOST,
                                span_show(value, shown));
        return 0;
    case FIELD_NUMBER:
        break;
    }
    uint32_t number;
    if (!number_read(value, rule->most, &number) || number == 0)
        return reading_fail(reading, "%s takes a whole number from 1 to %lu, not '%s'", rule->name, (unsigned long)rule->most,
                            span_show(value, shown));
    memcpy((char *)key + rule->field, &number, sizeof number);
    return 0;
}

static int field_read(struct reading *reading, struct span word, struct key *key)
{
    struct span value = word;
    struct span name = span_cut(&value, '=');
    /* Not shown: it may be a token that was put into the wrong place. */
    if (name.length == word.length)
        return reading_fail(reading, "after the SHA-256 come fields as in rate=5, and a word here has no '='");
    for (size_t i = 0; i < COUNT(FIELDS); i++) {
        if (!span_is(name, FIELDS[i].name))
            continue;
        if (reading->seen[i])
            return reading_fail(reading, "%s stands there twice; once is right", FIELDS[i].name);
        reading->seen[i] = true;
        return value_read(reading, &FIELDS[i], value, key);
    }
    char shown[SHOWN_MAX + 1];
    return reading_fail(reading, "there is no field '%.16s'; there are " FIELD_NAMES, span_show(name, shown));
}

/* Errors of a name and of a digest show neither: either may be a token that was put there. */
static int name_read(struct reading *reading, struct span word, struct key *key)
{
    size_t right = name_span(word);
    if (right < word.length)
        return reading_fail(reading, "a name takes letters, digits, '_', '.' and '-', not the byte 0x%02x", (unsigned char)word.at[right]);
    if (!key_name_valid(word.at, word.length))
        return reading_fail(reading, "a name takes at most %d bytes, not %zu", KEY_NAME_ROOM - 1, word.length);
    memcpy(key->name, word.at, word.length);
    return 0;
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

static int digest_read(struct reading *reading, struct span word, struct key *key)
{
    if (word.length == 0)
        return reading_fail(reading, "after the name comes the SHA-256 of the token, as `vivary key new` prints it, and there is none");
    if (word.length != (size_t)2 * KEY_DIGEST_SIZE)
        return reading_fail(reading, "after the name comes the SHA-256 of the token, %d hexadecimal digits, not %zu bytes",
                            2 * KEY_DIGEST_SIZE, word.length);
    for (size_t i = 0; i < KEY_DIGEST_SIZE; i++) {
        int high = hex_value(word.at[2 * i]), low = hex_value(word.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return reading_fail(reading, "the SHA-256 takes hexadecimal digits alone, and digit %zu is none", 2 * i + (high < 0 ? 1 : 2));
        key->digest[i] = (uint8_t)(high * 16 + low);
    }
    return 0;
}

/* Against the keys before it. */
static int key_compare(struct reading *reading, const struct key *key)
{
    for (uint32_t i = 0; i < reading->keys.count; i++) {
        const struct key *other = &reading->keys.at[i];
        if (strcmp(other->name, key->name) == 0)
            return reading_fail(reading, "the name '%s' stands in line %zu already; each key has a name of its own", key->name,
                                reading->lines[i]);
        if (memcmp(other->digest, key->digest, sizeof key->digest) == 0)
            return reading_fail(reading, "the SHA-256 stands in line %zu already; each key has a token of its own", reading->lines[i]);
    }
    return 0;
}

static int key_add(struct reading *reading, const struct key *key)
{
    if (reading->keys.count == KEYS_MAX)
        return reading_fail(reading, "this is one key too many: at most %d", KEYS_MAX);
    if (reading->keys.count == reading->room) {
        uint32_t room = reading->room > 0 ? 2 * reading->room : 16;
        struct key *at = realloc(reading->keys.at, room * sizeof *at);
        if (at == NULL)
            return reading_fail(reading, "there is no memory for more keys");
        reading->keys.at = at;
        reading->room = room;
    }
    reading->lines[reading->keys.count] = reading->line;
    reading->keys.at[reading->keys.count++] = *key;
    return 0;
}

static int line_read(struct reading *reading, struct span line)
{
    if (line.length > 0 && line.at[line.length - 1] == '\r')
        line.length--;
    if (line.length > KEYS_LINE_MAX)
        return reading_fail(reading, "the line is too long: at most %d bytes", KEYS_LINE_MAX);
    if (line.length > 0 && memchr(line.at, '\0', line.length) != NULL)
        return reading_fail(reading, "there is a NUL in the line; a key file is text");
    struct span word = word_take(&line);
    if (word.length == 0)
        return 0;
    struct key key = { .share = 1 };
    memset(reading->seen, 0, sizeof reading->seen);
    if (name_read(reading, word, &key) < 0 || digest_read(reading, word_take(&line), &key) < 0)
        return -1;
    while ((word = word_take(&line)).length > 0)
        if (field_read(reading, word, &key) < 0)
            return -1;
    /* Alone, a burst limits nothing: whoever wrote it believes in a limit that isn't there. */
    if (key.burst > 0 && key.rate_milli == 0)
        return reading_fail(reading, "burst has a meaning beside rate alone, and the line has no rate");
    if (key.burst == 0)
        key.burst = (key.rate_milli + MILLI - 1) / MILLI;
    return key_compare(reading, &key) < 0 ? -1 : key_add(reading, &key);
}

int keys_parse(const char *text, size_t length, struct keys *ret_keys, char error[static KEYS_ERROR_ROOM])
{
    struct reading reading = { .error = error };
    struct span rest = { text, length };
    while (rest.length > 0) {
        reading.line++;
        if (line_read(&reading, span_cut(&rest, '\n')) < 0) {
            keys_free(&reading.keys);
            return -1;
        }
    }
    *ret_keys = reading.keys;
    return 0;
}

void keys_free(struct keys *keys)
{
    free(keys->at);
    *keys = (struct keys) { 0 };
}

void key_digest(const char *token, size_t length, uint8_t digest[static KEY_DIGEST_SIZE])
{
    struct sha256_ctx hash;
    sha256_init(&hash);
    sha256_update(&hash, length, (const uint8_t *)token);
    sha256_digest(&hash, KEY_DIGEST_SIZE, digest);
}

const struct key *keys_find(const struct keys *keys, const char *token, size_t length)
{
    if (length == 0 || length > KEYS_TOKEN_MAX)
        return NULL;
    uint8_t digest[KEY_DIGEST_SIZE];
    key_digest(token, length, digest);
    const struct key *found = NULL;
    for (uint32_t i = 0; i < keys->count; i++) /* to the end, found or not */
        if (memeql_sec(keys->at[i].digest, digest, sizeof digest))
            found = &keys->at[i];
    return found;
}
