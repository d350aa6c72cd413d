/* The body of POST /execute: a JSON object with a script. */
#ifndef VIVARY_FRONT_REQUEST_H
#define VIVARY_FRONT_REQUEST_H

#include "front/json_check.h"

#include <stdbool.h>
#include <stddef.h>

enum { REQUEST_DEPTH_MAX = 128 };

struct request {
    char *script; /* UTF-8, malloc'ed, the caller's; not NUL-terminated, holds no NUL */
    size_t length;
};

/* Returns 0 and fills *ret_request, or the HTTP status to answer (400, or 500 when memory is out) with `error` filled: one sentence that
 * says what was wrong and what would be right. */
int request_parse(const char *body, size_t length, struct request *ret_request, char error[static 256]);

/* The same for what every request with a JSON body has in common: it is one, and an object. Its members are shown to `member`.
 * *ret_where: the name of the member in whose value the error is, if it is in one. */
int request_check(const char *body, size_t length, json_member *member, void *context, char error[static 256],
                  struct json_slice *ret_where);

/* Whether there is nothing but white space, as Python's str.strip() sees it. */
bool text_is_blank(const char *text, size_t length);

#endif
