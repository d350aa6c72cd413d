/* Why a request never ran: an `application/problem+json` (RFC 9457). */
#ifndef VIVARY_FRONT_PROBLEM_H
#define VIVARY_FRONT_PROBLEM_H

#include <stddef.h>

enum { PROBLEM_TEXT_MAX = 320 };

struct problem {
    unsigned status;
    const char *code; /* one word for programs: docs/api.md has them all */
    char param[96];   /* the field that is wrong, as a path; empty: none */
    char detail[PROBLEM_TEXT_MAX];
};

/* Fills all of it, and returns the status. */
unsigned problem_set(struct problem *problem, unsigned status, const char *code, const char *param, const char *detail, ...)
    __attribute__((format(printf, 5, 6)));

/* Its body: malloc'ed, the caller's, not NUL-terminated; NULL when memory is out. */
char *problem_body(const struct problem *problem, size_t *ret_length);

#endif
