/* A key file of any bytes: it is refused with a line, or gives keys that, written down anew, read as the very same bytes. */
#include "settings/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINE_ROOM = 1024 };

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static bool text_ended(const char *text, size_t room)
{
    const char *end = memchr(text, '\0', room);
    return end != NULL && end > text;
}

/* The line of a key; of its fields those that say something. */
static size_t key_write(const struct key *key, char to[static LINE_ROOM])
{
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {
        { "burst", key->burst },         { "at-once", key->at_once },   { "share", key->share },
        { "wall-ms", key->wall_ms },     { "cpu-ms", key->cpu_ms },     { "memory-mb", key->memory_mb },
        { "output-kb", key->output_kb }, { "files-mb", key->files_mb }, { "processes", key->processes },
    };
    size_t used = (size_t)snprintf(to, LINE_ROOM, "%s ", key->name);
    for (size_t i = 0; i < KEY_DIGEST_SIZE; i++)
        used += (size_t)snprintf(to + used, LINE_ROOM - used, "%02x", key->digest[i]);
    if (key->rate_milli > 0)
        used += (size_t)snprintf(to + used, LINE_ROOM - used, " rate=%u.%03u", key->rate_milli / 1000, key->rate_milli % 1000);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value > 0)
            used += (size_t)snprintf(to + used, LINE_ROOM - used, " %s=%u", numbers[i].name, numbers[i].value);
    for (uint32_t i = 0; i < key->runtime_count; i++)
        used += (size_t)snprintf(to + used, LINE_ROOM - used, "%s%s", i == 0 ? " runtimes=" : ",", key->runtimes[i]);
    used += (size_t)snprintf(to + used, LINE_ROOM - used, "\n");
    require(used < LINE_ROOM, "a key fits into its line");
    return used;
}

static void key_require(const struct keys *keys, uint32_t index)
{
    const struct key *key = &keys->at[index];
    require(text_ended(key->name, sizeof key->name) && key_name_valid(key->name, strlen(key->name)), "a key has a name");
    require(key->share >= 1 && key->share <= 1000 && key->at_once <= 65536, "numbers are within their bounds");
    require(key->rate_milli <= 100000000 && key->burst <= 100000 && (key->burst > 0) == (key->rate_milli > 0), "a rate has a burst");
    require(key->runtime_count <= KEY_RUNTIMES_MAX, "runtimes are within their room");
    for (uint32_t i = 0; i < KEY_RUNTIMES_MAX; i++)
        require(i < key->runtime_count ? text_ended(key->runtimes[i], KEY_RUNTIME_ROOM) : key->runtimes[i][0] == '\0',
                "a runtime has a name");
    for (uint32_t i = 0; i < index; i++)
        require(strcmp(keys->at[i].name, key->name) != 0 && memcmp(keys->at[i].digest, key->digest, KEY_DIGEST_SIZE) != 0,
                "names and digests are unique");
}

static void keys_require(const struct keys *keys)
{
    char error[KEYS_ERROR_ROOM];
    struct keys again = { 0 };
    char *text = malloc((size_t)keys->count * LINE_ROOM + 1);
    require(text != NULL, "there is memory");
    size_t used = 0;
    for (uint32_t i = 0; i < keys->count; i++) {
        key_require(keys, i);
        used += key_write(&keys->at[i], text + used);
    }
    require(keys_parse(text, used, &again, error) == 0, "what was taken is taken again");
    require(again.count == keys->count, "as many keys as before");
    require(keys->count == 0 || memcmp(again.at, keys->at, keys->count * sizeof *keys->at) == 0, "the same keys as before");
    keys_free(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct key untouched;
    struct keys keys = { &untouched, 12345 };
    char error[KEYS_ERROR_ROOM];
    memset(error, 'x', sizeof error);
    if (keys_parse((const char *)data, size, &keys, error) < 0) {
        require(keys.at == &untouched && keys.count == 12345, "an error leaves the keys as they were");
        require(text_ended(error, sizeof error) && strncmp(error, "line ", 5) == 0, "a refused file has a reason");
        for (const char *at = error; *at != '\0'; at++)
            require(*at >= ' ' && *at <= '~', "a reason can be printed");
        return 0;
    }
    keys_require(&keys);
    keys_find(&keys, (const char *)data, size);
    keys_free(&keys);
    return 0;
}
