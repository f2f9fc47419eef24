// SPDX-License-Identifier: Apache-2.0
// A cache of decoded, immutable objects (inodes, directory listings), shared by threads and bounded in bytes.
#pragma once
#include <stddef.h>
#include <stdint.h>

// The head of every object; an object is one allocation, so that free() ends it.
struct object {
	uint64_t key;
	size_t bytes;                     // of the whole allocation
	unsigned pins;
	int listed;
	struct object *chain, *newer, *older;
};

struct object_cache;

struct object_cache *object_cache_new(size_t bytes);
void object_cache_free(struct object_cache *cache);

// The object of that key, pinned; NULL when it is not there.
struct object *object_cache_get(struct object_cache *cache, uint64_t key);
// Adds an object (its key and bytes filled in) and returns it pinned, or an equal one that another thread added meanwhile (then ours is freed).
struct object *object_cache_put(struct object_cache *cache, struct object *object);
void object_cache_release(struct object_cache *cache, struct object *object);
