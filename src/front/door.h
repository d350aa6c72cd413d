#ifndef VIVARY_FRONT_DOOR_H
#define VIVARY_FRONT_DOOR_H

struct MHD_Connection;

/* What is wrong with the headers of a request of this HTTP version ("HTTP/1.1"), as a sentence for the client; NULL: nothing. Such a
 * request leaves open where the next one begins, and with a proxy in front, two readings of it are a way to smuggle one in (RFC
 * 9112, 11.2). */
const char *door_check(struct MHD_Connection *mhd, const char *version);

#endif
