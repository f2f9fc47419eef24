// SPDX-License-Identifier: Apache-2.0
// A cache of decompressed blocks of one capacity, shared by threads and bounded in bytes. A block in use is pinned by a count; nobody holds the
// lock while a block is filled, and a second thread that wants the same block waits for the first.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct block_cache;

struct block {
	uint8_t *data;
	size_t size;              // bytes filled, at most the capacity
	// the rest is the cache's
	uint64_t at;
	uint32_t tag;
	int error;                // negative errno when filling failed
	unsigned pins;
	int loading, listed;
	struct block_cache *cache;
	struct block *chain, *newer, *older;
};

// A cache of at most `bytes` (but room for a few blocks at least) in blocks of `capacity` bytes. NULL: out of memory.
struct block_cache *block_cache_new(size_t capacity, uint64_t bytes);
// No block may be pinned any more.
void block_cache_free(struct block_cache *cache);

// The block known as (at, tag), pinned. When absent, fill puts at most the capacity into data and returns the bytes put or a negative errno.
// 0, or a negative errno.
int block_cache_get(struct block_cache *cache, uint64_t at, uint32_t tag,
	ssize_t (*fill)(void *arg, void *data, size_t capacity), void *arg, struct block **block);
void block_cache_release(struct block *block);
