/* Which level of isolation this host allows, and what makes it up. */
#ifndef VIVARY_CLI_LEVEL_H
#define VIVARY_CLI_LEVEL_H

#include "cli/launch.h"

enum { LEVEL_TEXT_MAX = 1024 };

/* Probes the host. Where level full can be had without privileges alone, this process becomes root of a user namespace for it. */
void level_probe(const struct settings *settings, struct host *ret_host);

/* Why the level can't be had here, as a sentence, or NULL if it can. */
const char *level_missing(const struct host *host, enum plan_level level);

/* Fills in the plan what depends on the level. 0, or 1 with the reason printed on stderr. */
int level_choose(struct launch *launch);

/* The level in force: its name; its layers and limits, and what they can't bound, each with commas between. */
const char *level_name(const struct plan *plan);
void level_layers(const struct plan *plan, char ret_text[static LEVEL_TEXT_MAX]);
void level_unbounded(const struct plan *plan, char ret_text[static LEVEL_TEXT_MAX]);

/* All of it, as the answer to GET /readyz. 0, or -1: it didn't fit. */
int level_json(const struct launch *launch, char *ret_text, size_t size);

#endif
