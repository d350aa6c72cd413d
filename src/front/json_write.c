#include "front/json_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void write_bytes(struct writer *w, const void *bytes, size_t length)
{
    if (w->to && length > 0) /* memcpy(…, NULL, 0) is undefined in C17 */
        memcpy(w->to + w->used, bytes, length);
    w->used += length;
}

void write_literal(struct writer *w, const char *literal)
{
    write_bytes(w, literal, strlen(literal));
}

/* ASCII that stands for itself in a JSON string. */
static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

static void write_escape(struct writer *w, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef", shorts[32] = { ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' };
    char letter = byte < 0x20 ? shorts[byte] : (char)byte; /* above are only quote and backslash, which escape as themselves */
    if (letter)
        write_bytes(w, (char[]) { '\\', letter }, 2);
    else
        write_bytes(w, (char[]) { '\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15] }, 6);
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

void write_text(struct writer *w, const char *text, size_t length, bool cut)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t left = length; left > 0;) {
        size_t taken = 0;
        while (taken < left && is_plain(at[taken]))
            taken++;
        if (taken > 0) {
            write_bytes(w, at, taken);
        } else if (at[0] < 0x80) {
            taken = 1;
            write_escape(w, at[0]);
        } else {
            bool whole;
            taken = sequence_length(at, left, &whole);
            if (whole)
                write_bytes(w, at, taken);
            else if (!cut || taken < left || !is_lead(at[0])) /* else our limit split the character, not the script */
                write_literal(w, "\xef\xbf\xbd");
        }
        at += taken;
        left -= taken;
    }
}

void write_string(struct writer *w, const char *text)
{
    if (text == NULL) {
        write_literal(w, "null");
        return;
    }
    write_literal(w, "\"");
    write_text(w, text, strlen(text), false);
    write_literal(w, "\"");
}

void write_number(struct writer *w, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    write_literal(w, text);
}

void write_thousandths(struct writer *w, uint64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%llu.%03u", (unsigned long long)(number / 1000), (unsigned)(number % 1000));
    write_literal(w, text);
}

char *write_make(void (*write)(struct writer *w, const void *argument), const void *argument, size_t *ret_length)
{
    struct writer w = { 0 };
    write(&w, argument);
    w = (struct writer) { .to = malloc(w.used > 0 ? w.used : 1) };
    if (!w.to)
        return NULL;
    write(&w, argument);
    *ret_length = w.used;
    return w.to;
}
