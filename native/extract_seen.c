// SPDX-License-Identifier: Apache-2.0
// A hash table of inode references.
#include <stdlib.h>

#include "extract_inside.h"

static struct seen *probe(struct seen *slot, size_t room, uint64_t ref) {
	// 0 marks a free slot, so references are kept plus one.
	size_t at = (size_t)((ref * 0x9e3779b97f4a7c15u) >> 20) & (room - 1);
	while (slot[at].ref && slot[at].ref != ref + 1)
		at = (at + 1) & (room - 1);
	return &slot[at];
}

static int grow(struct seen_table *table) {
	size_t room = table->room ? table->room * 2 : 256;
	struct seen *slot = calloc(room, sizeof *slot);
	if (!slot)
		return -1;
	for (size_t i = 0; i < table->room; i++)
		if (table->slot[i].ref)
			*probe(slot, room, table->slot[i].ref - 1) = table->slot[i];
	free(table->slot);
	table->slot = slot;
	table->room = room;
	return 0;
}

struct seen *seen_note(struct seen_table *table, uint64_t ref, int *before) {
	if (table->count * 2 >= table->room && grow(table))
		return NULL;
	struct seen *seen = probe(table->slot, table->room, ref);
	*before = seen->ref != 0;
	if (!*before) {
		seen->ref = ref + 1;
		table->count++;
	}
	return seen;
}

void seen_free(struct seen_table *table) {
	for (size_t i = 0; i < table->room; i++)
		free(table->slot[i].name);
	free(table->slot);
}
