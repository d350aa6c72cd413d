/* The body of POST /execute: a JSON object with a script. */
#ifndef VIVARY_FRONT_REQUEST_H
#define VIVARY_FRONT_REQUEST_H

#include <stddef.h>

enum { REQUEST_DEPTH_MAX = 128 };

struct request {
    char *script; /* UTF-8, malloc'ed, the caller's; not NUL-terminated, holds no NUL */
    size_t length;
};

/* Returns 0 and fills *ret_request, or the HTTP status to answer (400, or 500 when memory is out) with `error` filled: one sentence that
 * says what was wrong and what would be right. */
int request_parse(const char *body, size_t length, struct request *ret_request, char error[static 256]);

#endif
