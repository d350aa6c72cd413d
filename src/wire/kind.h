/* What every wire message begins with. Messages are fixed-size records on a SOCK_SEQPACKET socket pair: valid or refused as a whole. */
#ifndef VIVARY_WIRE_KIND_H
#define VIVARY_WIRE_KIND_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum wire_kind {
    WIRE_READY = 1,   /* keeper to front */
    WIRE_TAKEN = 2,   /* front to keeper */
    WIRE_DONE = 3,    /* front to keeper */
    WIRE_DIED = 4,    /* keeper to front */
    WIRE_FORK = 5,    /* keeper to zygote */
    WIRE_EXITED = 6,  /* zygote to keeper */
    WIRE_WARM = 7,    /* zygote to keeper */
    WIRE_BORN = 8,    /* zygote to keeper */
    WIRE_LIMITED = 9, /* keeper to front */
    WIRE_END = 10,    /* keeper to zygote */
};

struct wire_bounds {
    uint32_t slots; /* slots are numbered from 0 to slots - 1 */
};

#endif
