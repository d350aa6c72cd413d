/* Writing JSON: twice by the same function, once without memory to learn the length, and then into exactly that much. */
#ifndef VIVARY_FRONT_JSON_WRITE_H
#define VIVARY_FRONT_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer {
    char *to; /* NULL: only count */
    size_t used;
};

void write_bytes(struct writer *w, const void *bytes, size_t length);
void write_literal(struct writer *w, const char *literal);
/* The inside of a string. `text` is any bytes: what isn't UTF-8 becomes U+FFFD (one for each maximal wrong part, as Python's
 * errors="replace" does). `cut`: a limit of ours ended the text, and a character that it split is left out. */
void write_text(struct writer *w, const char *text, size_t length, bool cut);
/* A string with its quotes, or null for NULL. */
void write_string(struct writer *w, const char *text);
void write_number(struct writer *w, uint64_t number);
/* A number of thousandths: 1234 is 1.234. */
void write_thousandths(struct writer *w, uint64_t number);

/* Calls `write` twice. Returns what it wrote, malloc'ed, or NULL when memory is out. */
char *write_make(void (*write)(struct writer *w, const void *argument), const void *argument, size_t *ret_length);

#endif
