/* What a run is going to use, as far as its request shows it: pages of the warm interpreter that are copied for who does. In TAKEN of one
 * run; in FORK, what most runs of late have used, so that a worker has them before its script comes. */
#ifndef VIVARY_WIRE_USES_H
#define VIVARY_WIRE_USES_H

enum uses {
    USES_REQUEST = 1, /* it came to /v1/run: DIED is to tell what was used */
    USES_NUMPY = 2,   /* it names the package */
    USES_PANDAS = 4,
    USES_ALL = 7,
    USES_KINDS = 3
};

#endif
