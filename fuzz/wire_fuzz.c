/* Records as keeper, front and zygote take them, of any bytes and length: what is called valid holds what its readers rely on. */
#include "wire/died.h"
#include "wire/done.h"
#include "wire/exited.h"
#include "wire/ready.h"
#include "wire/taken.h"

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
    const struct wire_bounds bounds = { .slots = 16 };
    struct taken taken;
    struct done done;
    struct ready ready;
    struct died died;
    struct exited exited;
    /* A copy of exactly the length: a read past it is seen by the sanitizer. */
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, size);
    if (taken_valid(bytes, size, &bounds, &taken))
        promise(size == sizeof taken && taken.slot < bounds.slots, "a valid TAKEN is of a slot");
    if (done_valid(bytes, size, &bounds, &done))
        promise(size == sizeof done && done.slot < bounds.slots, "a valid DONE is of a slot");
    if (ready_valid(bytes, size, &bounds, &ready))
        promise(size == sizeof ready && ready.slot < bounds.slots, "a valid READY is of a slot");
    if (died_valid(bytes, size, &bounds, &died))
        promise(size == sizeof died && died.slot < bounds.slots, "a valid DIED is of a slot");
    if (exited_valid(bytes, size, &bounds, &exited))
        promise(size == sizeof exited && (exited.kind == WIRE_WARM || exited.slot < bounds.slots), "a valid EXITED is of a slot");
    free(bytes);
    return 0;
}
