#include "front/caller.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct caller *caller_of(const struct keyring *ring, const char *name)
{
    for (uint32_t i = 0; i < ring->keys.count; i++)
        if (strcmp(ring->keys.at[i].name, name) == 0)
            return ring->callers[i];
    return NULL;
}

void caller_settle(struct caller *caller)
{
    if (caller->gone && caller->running == 0 && caller->calls == 0)
        free(caller);
}

static void bucket_fill(struct caller *caller)
{
    caller->tokens = caller->key.burst;
    caller->tokens_ns = clock_ns();
}

static struct caller *caller_make(const struct key *key)
{
    struct caller *caller = calloc(1, sizeof *caller);
    if (caller == NULL)
        return NULL;
    caller->key = *key;
    bucket_fill(caller);
    return caller;
}

int keyring_replace(struct keyring *ring, struct keys *keys)
{
    uint32_t count = keys->count, made = 0;
    struct caller **callers = calloc(count + 1, sizeof(struct caller *));
    if (callers == NULL)
        return -1;
    for (; made < count; made++) {
        struct caller *caller = caller_of(ring, keys->at[made].name);
        if (caller == NULL)
            caller = caller_make(&keys->at[made]);
        if (caller == NULL)
            break;
        callers[made] = caller;
    }
    if (made < count) {
        for (uint32_t i = 0; i < made; i++)
            if (caller_of(ring, keys->at[i].name) == NULL)
                free(callers[i]); // NOLINT(clang-analyzer-unix.Malloc): names are unique, so none stands there twice
        free(callers);
        return -1;
    }
    for (uint32_t i = 0; i < ring->keys.count; i++)
        ring->callers[i]->gone = true; // NOLINT(clang-analyzer-core.NullDereference): there are as many as keys
    for (uint32_t i = 0; i < count; i++) {
        bool first_rate = callers[i]->key.rate_milli == 0;
        callers[i]->key = keys->at[i];
        callers[i]->gone = false; // NOLINT(clang-analyzer-core.NullDereference): all `count` were made
        if (first_rate)
            bucket_fill(callers[i]);
    }
    for (uint32_t i = 0; i < ring->keys.count; i++)
        caller_settle(ring->callers[i]);
    free(ring->callers);
    keys_free(&ring->keys);
    ring->callers = callers;
    ring->keys = *keys;
    *keys = (struct keys) { 0 };
    return 0;
}

struct caller *keyring_find(struct keyring *ring, const char *authorization)
{
    static const char SCHEME[] = "Bearer ";
    if (!ring->asked)
        return &ring->everybody;
    if (authorization == NULL || strncasecmp(authorization, SCHEME, sizeof SCHEME - 1) != 0)
        return NULL;
    const char *token = authorization + sizeof SCHEME - 1;
    token += strspn(token, " ");
    const struct key *key = keys_find(&ring->keys, token, strlen(token));
    return key == NULL ? NULL : ring->callers[key - ring->keys.at];
}

uint32_t caller_admit(struct caller *caller, uint64_t now_ns)
{
    if (caller->key.rate_milli == 0)
        return 0;
    double rate = caller->key.rate_milli / 1000.0; /* a second */
    caller->tokens += (double)(now_ns - caller->tokens_ns) / (double)NS_PER_S * rate;
    caller->tokens_ns = now_ns;
    if (caller->tokens > caller->key.burst)
        caller->tokens = caller->key.burst;
    if (caller->tokens < 1)
        return (uint32_t)((1 - caller->tokens) / rate) + 1;
    caller->tokens -= 1;
    return 0;
}

bool caller_may_use(const struct caller *caller, const char *runtime)
{
    for (uint32_t i = 0; i < caller->key.runtime_count; i++)
        if (strcmp(caller->key.runtimes[i], runtime) == 0)
            return true;
    return caller->key.runtime_count == 0;
}
