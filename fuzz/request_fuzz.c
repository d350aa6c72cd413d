/* The body of POST /execute, of any bytes: it gives a script of valid UTF-8 without NUL, or an error of one sentence. */
#include "front/request.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void promise(bool kept, const char *what)
{
    if (!kept) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[256] = "";
    struct request request = { NULL, 0 };
    char *body = malloc(size > 0 ? size : 1);
    if (body == NULL)
        return 0;
    memcpy(body, data, size);
    int status = request_parse(body, size, &request, error);
    if (status == 0) {
        promise(request.script != NULL && request.length > 0 && request.length <= size, "a script is no longer than its body");
        promise(memchr(request.script, 0, request.length) == NULL, "a script has no NUL");
        for (size_t i = 0; i < request.length; i++)
            promise((unsigned char)request.script[i] < 0xf5, "a script is UTF-8");
        free(request.script);
    } else {
        promise(status == 400, "what is wrong with a body is the client's");
        promise(error[0] != '\0' && memchr(error, 0, sizeof error) != NULL, "an error says what is wrong");
    }
    free(body);
    return 0;
}
