#include "base/fault.h"

#include <stdio.h>

int fault_set(struct fault *why, int error, const char *call, const char *object)
{
    *why = (struct fault) { .error = error }; /* zeroed: no bytes of ours travel in the tail of a short name */
    snprintf(why->call, sizeof why->call, "%s", call);
    snprintf(why->object, sizeof why->object, "%s", object);
    return -error;
}
