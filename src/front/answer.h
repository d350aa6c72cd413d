/* The bodies of HTTP answers. Each is malloc'ed, the caller's to free, and not NUL-terminated; NULL when memory is out. */
#ifndef VIVARY_FRONT_ANSWER_H
#define VIVARY_FRONT_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

/* {"result": <result, digit for digit>, "stdout": "…"} and, when `cut`, also "stdout_truncated": true. `result` is checked JSON; `out` is
 * any bytes: what isn't UTF-8 becomes U+FFFD (one for each maximal wrong part, as Python's errors="replace" does). */
char *answer_result(const char *result, size_t result_length, const char *out, size_t out_length, bool cut, size_t *ret_length);

/* {"error": "…"}. `text` is any bytes, treated as above. */
char *answer_error(const char *text, size_t length, size_t *ret_length);

#endif
