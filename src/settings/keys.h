/* API keys: who may send runs, and how many. The file holds the SHA-256 of each token, never a token, and neither does any error of here.
 */
#ifndef VIVARY_SETTINGS_KEYS_H
#define VIVARY_SETTINGS_KEYS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KEYS_MAX = 4096,
    KEYS_LINE_MAX = 4096, /* bytes, without the line's end */
    KEYS_TOKEN_MAX = 256,
    KEYS_ERROR_ROOM = 256,
    KEY_NAME_ROOM = 64,
    KEY_DIGEST_SIZE = 32,
    KEY_RUNTIMES_MAX = 16,
    KEY_RUNTIME_ROOM = 32,
};

/* Flat, and without holes: an array of it travels to another process in a memory file. In a limit, 0 means that the key has none of its
 * own. */
struct key {
    char name[KEY_NAME_ROOM]; /* as all texts here: filled up with NUL, one at least */
    uint8_t digest[KEY_DIGEST_SIZE];
    uint32_t rate_milli; /* runs in a thousand seconds */
    uint32_t burst;      /* 0 only without a rate */
    uint32_t at_once;    /* runs at the same time */
    uint32_t share;      /* weight in the queue, 1 at least */
    uint32_t wall_ms;    /* this and what follows: the highest limit that the key may ask for */
    uint32_t cpu_ms;
    uint32_t memory_mb;
    uint32_t output_kb;
    uint32_t files_mb;
    uint32_t processes;
    uint32_t runtime_count; /* 0: all runtimes */
    char runtimes[KEY_RUNTIMES_MAX][KEY_RUNTIME_ROOM];
};

static_assert(sizeof(struct key) ==
                  KEY_NAME_ROOM + KEY_DIGEST_SIZE + 11 * sizeof(uint32_t) + sizeof(char[KEY_RUNTIMES_MAX][KEY_RUNTIME_ROOM]),
              "struct key has no holes");

struct keys {
    struct key *at; /* malloc'ed; NULL when there are none */
    uint32_t count;
};

/* Reads a key file: lines `NAME SHA256HEX [field=value]...`, `#` before a comment. 0, or -1 with a sentence in `error` that names the line,
 * and *ret_keys as it was. A file without a key is valid. */
int keys_parse(const char *text, size_t length, struct keys *ret_keys, char error[static KEYS_ERROR_ROOM]);

void keys_free(struct keys *keys);

/* The key whose token this is, or NULL. The time it takes tells nothing about the digests. */
const struct key *keys_find(const struct keys *keys, const char *token, size_t length);

bool key_name_valid(const char *name, size_t length);
void key_digest(const char *token, size_t length, uint8_t digest[static KEY_DIGEST_SIZE]);

#endif
