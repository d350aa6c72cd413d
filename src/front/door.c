#include "front/door.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

struct headers {
    unsigned lengths, encodings, hosts, authorizations;
    const char *wrong;
};

static enum MHD_Result header_look(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct headers *headers = cls;
    (void)kind;
    size_t length = strlen(key);
    if (length == 0 || key[length - 1] == ' ' || key[length - 1] == '\t')
        headers->wrong = "A header's name must not end in white space";
    if (strcasecmp(key, "Content-Length") == 0) {
        headers->lengths++;
        if (value == NULL || value[0] == '\0' || value[strspn(value, "0123456789")] != '\0')
            headers->wrong = "Content-Length must be a number";
    } else if (strcasecmp(key, "Transfer-Encoding") == 0) {
        headers->encodings++;
        if (value == NULL || strcasecmp(value, "chunked") != 0)
            headers->wrong = "Transfer-Encoding must be chunked, or absent";
    } else if (strcasecmp(key, "Authorization") == 0) {
        headers->authorizations++;
    } else if (strcasecmp(key, "Host") == 0) {
        headers->hosts++;
    }
    return MHD_YES;
}

const char *door_check(struct MHD_Connection *mhd, const char *version)
{
    struct headers headers = { 0 };
    MHD_get_connection_values(mhd, MHD_HEADER_KIND, header_look, &headers);
    if (headers.wrong != NULL)
        return headers.wrong;
    if (headers.lengths > 1)
        return "Content-Length must be given once";
    if (headers.lengths > 0 && headers.encodings > 0)
        return "Content-Length and Transfer-Encoding exclude each other";
    if (headers.encodings > 1)
        return "Transfer-Encoding must be given once";
    if (headers.encodings > 0 && strcmp(version, "HTTP/1.0") == 0)
        return "HTTP/1.0 has no Transfer-Encoding"; /* a proxy that speaks it passes the chunks on as a body: RFC 9112, 6.1 */
    if (headers.authorizations > 1)
        return "Authorization must be given once";
    if (headers.hosts > 1)
        return "Host must be given once";
    return NULL;
}
