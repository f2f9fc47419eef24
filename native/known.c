// SPDX-License-Identifier: Apache-2.0
// A hash table of keys of 16 bytes.
#include "known.h"

#include <stdlib.h>
#include <string.h>

static struct known *probe(struct known *slot, size_t room, const struct key *key) {
	uint64_t start;
	memcpy(&start, key->bytes, sizeof start);
	size_t at = (size_t)(start * 0x9e3779b97f4a7c15u >> 20) & (room - 1);
	while (slot[at].used && memcmp(&slot[at].key, key, sizeof *key) != 0)
		at = (at + 1) & (room - 1);
	return &slot[at];
}

static int grow(struct known_table *table) {
	size_t room = table->room ? table->room * 2 : 1024;
	struct known *slot = calloc(room, sizeof *slot);
	if (!slot)
		return -1;
	for (size_t i = 0; i < table->room; i++)
		if (table->slot[i].used)
			*probe(slot, room, &table->slot[i].key) = table->slot[i];
	free(table->slot);
	table->slot = slot;
	table->room = room;
	return 0;
}

struct known *known_note(struct known_table *table, const struct key *key, int *before) {
	if (table->count * 2 >= table->room && grow(table))
		return NULL;
	struct known *known = probe(table->slot, table->room, key);
	*before = known->used;
	if (!known->used) {
		*known = (struct known){ .key = *key, .used = 1 };
		table->count++;
	}
	return known;
}

void known_free_data(struct known_table *table) {
	for (size_t i = 0; i < table->room; i++)
		free(table->slot[i].data);
	free(table->slot);
}
