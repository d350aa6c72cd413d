#include "front/answer.h"

#include "front/json_write.h"

struct body {
    const char *result, *text; /* result: NULL in an error */
    size_t result_length, text_length;
    bool cut;
};

static void body_write(struct writer *w, const void *argument)
{
    const struct body *body = argument;
    if (body->result) {
        write_literal(w, "{\"result\": ");
        write_bytes(w, body->result, body->result_length);
        write_literal(w, ", \"stdout\": \"");
    } else {
        write_literal(w, "{\"error\": \"");
    }
    write_text(w, body->text, body->text_length, body->cut);
    write_literal(w, body->cut ? "\", \"stdout_truncated\": true}" : "\"}");
}

char *answer_result(const char *result, size_t result_length, const char *out, size_t out_length, bool cut, size_t *ret_length)
{
    const struct body body = { .result = result, .result_length = result_length, .text = out, .text_length = out_length, .cut = cut };
    return write_make(body_write, &body, ret_length);
}

char *answer_error(const char *text, size_t length, size_t *ret_length)
{
    const struct body body = { .text = text, .text_length = length };
    return write_make(body_write, &body, ret_length);
}
