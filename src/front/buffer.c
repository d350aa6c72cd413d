/* Bytes that grow as they arrive: never by what somebody announced. */
#include "front/front.h"

#include <stdlib.h>
#include <string.h>

bool buffer_add(struct buffer *buffer, const void *bytes, size_t length)
{
    size_t fits = buffer->most - buffer->used < length ? buffer->most - buffer->used : length;
    buffer->cut |= fits < length;
    if (buffer->used + fits > buffer->room) {
        size_t room = buffer->room > 0 ? buffer->room : 1024;
        while (room < buffer->used + fits)
            room *= 2;
        char *at = realloc(buffer->at, room);
        if (at == NULL)
            return false;
        buffer->at = at;
        buffer->room = room;
    }
    if (fits > 0) /* memcpy(NULL, …, 0) is undefined in C17 */
        memcpy(buffer->at + buffer->used, bytes, fits);
    buffer->used += fits;
    return true;
}

bool buffer_reserve(struct buffer *buffer, size_t room)
{
    char *at = buffer->room >= room ? buffer->at : realloc(buffer->at, room);
    if (at == NULL)
        return false;
    buffer->at = at;
    buffer->room = buffer->room >= room ? buffer->room : room;
    return true;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->at);
    *buffer = (struct buffer) { 0 };
}
