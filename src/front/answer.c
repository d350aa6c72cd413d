/* Each body is written twice by the same function: once without memory, to learn its length, and then into exactly that much. */
#include "front/answer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct writer {
    char *to; /* NULL: only count */
    size_t used;
};

struct body {
    const char *result, *text; /* result: NULL in an error */
    size_t result_length, text_length;
    bool cut;
};

static void bytes_write(struct writer *w, const void *bytes, size_t length)
{
    if (w->to && length > 0) /* memcpy(…, NULL, 0) is undefined in C17 */
        memcpy(w->to + w->used, bytes, length);
    w->used += length;
}

static void literal_write(struct writer *w, const char *literal)
{
    bytes_write(w, literal, strlen(literal));
}

/* ASCII that stands for itself in a JSON string. */
static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

static void escape_write(struct writer *w, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef", shorts[32] = { ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' };
    char letter = byte < 0x20 ? shorts[byte] : (char)byte; /* above are only quote and backslash, which escape as themselves */
    if (letter)
        bytes_write(w, (char[]) { '\\', letter }, 2);
    else
        bytes_write(w, (char[]) { '\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15] }, 6);
}

static bool is_lead(unsigned char byte)
{
    return byte >= 0xc2 && byte <= 0xf4;
}

/* How many bytes at `at`, of which the first isn't ASCII, are one sequence of UTF-8 (then *ret_whole) or the maximal part that begins like
 * one: the longest that could still have become a sequence, and at least one byte. Table 3-7 of the Unicode standard. */
static size_t sequence_length(const unsigned char *at, size_t left, bool *ret_whole)
{
    unsigned char lead = at[0];
    size_t most = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4, length = 1;
    *ret_whole = false;
    if (!is_lead(lead))
        return 1;
    for (; length < most && length < left; length++) {
        unsigned char byte = at[length];
        if ((byte & 0xc0) != 0x80)
            return length;
        /* The second byte decides about overlong forms, surrogates, and what lies above U+10FFFF. */
        if (length == 1 && ((lead == 0xe0 && byte < 0xa0) || (lead == 0xed && byte > 0x9f) || (lead == 0xf0 && byte < 0x90) ||
                            (lead == 0xf4 && byte > 0x8f)))
            return length;
    }
    *ret_whole = length == most;
    return length;
}

static void text_write(struct writer *w, const char *text, size_t length, bool cut)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t left = length; left > 0;) {
        size_t taken = 0;
        while (taken < left && is_plain(at[taken]))
            taken++;
        if (taken > 0) {
            bytes_write(w, at, taken);
        } else if (at[0] < 0x80) {
            taken = 1;
            escape_write(w, at[0]);
        } else {
            bool whole;
            taken = sequence_length(at, left, &whole);
            if (whole)
                bytes_write(w, at, taken);
            else if (!cut || taken < left || !is_lead(at[0])) /* else our limit split the character, not the script */
                literal_write(w, "\xef\xbf\xbd");
        }
        at += taken;
        left -= taken;
    }
}

static void body_write(struct writer *w, const struct body *body)
{
    if (body->result) {
        literal_write(w, "{\"result\": ");
        bytes_write(w, body->result, body->result_length);
        literal_write(w, ", \"stdout\": \"");
    } else {
        literal_write(w, "{\"error\": \"");
    }
    text_write(w, body->text, body->text_length, body->cut);
    literal_write(w, body->cut ? "\", \"stdout_truncated\": true}" : "\"}");
}

static char *body_make(const struct body *body, size_t *ret_length)
{
    struct writer w = { 0 };
    body_write(&w, body);
    w = (struct writer) { .to = malloc(w.used) };
    if (!w.to)
        return NULL;
    body_write(&w, body);
    *ret_length = w.used;
    return w.to;
}

char *answer_result(const char *result, size_t result_length, const char *out, size_t out_length, bool cut, size_t *ret_length)
{
    const struct body body = { .result = result, .result_length = result_length, .text = out, .text_length = out_length, .cut = cut };
    return body_make(&body, ret_length);
}

char *answer_error(const char *text, size_t length, size_t *ret_length)
{
    const struct body body = { .text = text, .text_length = length };
    return body_make(&body, ret_length);
}
