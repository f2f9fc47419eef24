// SPDX-License-Identifier: Apache-2.0
// A hash table of keys of 16 bytes, whose first 8 tell them apart well.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct key { uint8_t bytes[16]; };
struct known { struct key key; union { uint64_t place; void *data; }; int used; };
struct known_table { struct known *slot; size_t count, room; };

// The entry of a key, added when it was not there (*before 0: what it has beside the key is 0, and to be filled in). Good until the next call. NULL: out of memory.
struct known *known_note(struct known_table *table, const struct key *key, int *before);
// Frees the table and the data of all entries; not for tables of places.
void known_free_data(struct known_table *table);
