#include "front/problem.h"

#include "front/json_write.h"

#include <stdarg.h>
#include <stdio.h>

unsigned problem_set(struct problem *problem, unsigned status, const char *code, const char *param, const char *detail, ...)
{
    va_list arguments;
    *problem = (struct problem) { .status = status, .code = code };
    snprintf(problem->param, sizeof problem->param, "%s", param);
    va_start(arguments, detail);
    vsnprintf(problem->detail, sizeof problem->detail, detail, arguments);
    va_end(arguments);
    return status;
}

static const char *title_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *title;
    } TITLES[] = {
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" },
        { 422, "Unprocessable Content" },
        { 429, "Too Many Requests" },
        { 500, "Internal Server Error" },
        { 503, "Service Unavailable" },
    };
    for (size_t i = 0; i < sizeof TITLES / sizeof *TITLES; i++)
        if (TITLES[i].status == status)
            return TITLES[i].title;
    return "Error";
}

static void body_write(struct writer *w, const void *argument)
{
    const struct problem *problem = argument;
    write_literal(w, "{\"type\": \"about:blank\", \"title\": ");
    write_string(w, title_of(problem->status));
    write_literal(w, ", \"status\": ");
    write_number(w, problem->status);
    write_literal(w, ", \"code\": ");
    write_string(w, problem->code);
    write_literal(w, ", \"param\": ");
    write_string(w, problem->param[0] != '\0' ? problem->param : NULL);
    write_literal(w, ", \"detail\": ");
    write_string(w, problem->detail);
    write_literal(w, "}");
}

char *problem_body(const struct problem *problem, size_t *ret_length)
{
    return write_make(body_write, problem, ret_length);
}
