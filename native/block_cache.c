// SPDX-License-Identifier: Apache-2.0
#include "block_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define MIN_BLOCKS 8

struct block_cache {
	size_t capacity, limit, count;    // limit and count in blocks
	size_t bucket_mask;
	struct block **bucket;
	struct block *newest, *oldest;    // unpinned blocks, by last use
	pthread_mutex_t lock;
	pthread_cond_t filled;
};

struct block_cache *block_cache_new(size_t capacity, uint64_t bytes) {
	struct block_cache *cache = calloc(1, sizeof *cache);
	if (!cache)
		return NULL;
	cache->capacity = capacity;
	cache->limit = bytes / capacity < MIN_BLOCKS ? MIN_BLOCKS : (size_t)(bytes / capacity);
	size_t buckets = 64;
	while (buckets < cache->limit && buckets < (1u << 20))
		buckets *= 2;
	cache->bucket_mask = buckets - 1;
	cache->bucket = calloc(buckets, sizeof *cache->bucket);
	if (!cache->bucket) {
		free(cache);
		return NULL;
	}
	pthread_mutex_init(&cache->lock, NULL);
	pthread_cond_init(&cache->filled, NULL);
	return cache;
}

static struct block **bucket_of(struct block_cache *cache, uint64_t at) {
	uint64_t mixed = at * 0x9e3779b97f4a7c15u;
	return &cache->bucket[(mixed >> 32) & cache->bucket_mask];
}

static void list_add(struct block_cache *cache, struct block *block) {
	block->listed = 1;
	block->newer = NULL;
	block->older = cache->newest;
	if (cache->newest)
		cache->newest->newer = block;
	else
		cache->oldest = block;
	cache->newest = block;
}

static void list_remove(struct block_cache *cache, struct block *block) {
	if (!block->listed)
		return;
	block->listed = 0;
	if (block->newer)
		block->newer->older = block->older;
	else
		cache->newest = block->older;
	if (block->older)
		block->older->newer = block->newer;
	else
		cache->oldest = block->newer;
}

static void bucket_remove(struct block_cache *cache, struct block *block) {
	for (struct block **at = bucket_of(cache, block->at); *at; at = &(*at)->chain) {
		if (*at == block) {
			*at = block->chain;
			return;
		}
	}
}

static void block_free(struct block_cache *cache, struct block *block) {
	cache->count--;
	free(block->data);
	free(block);
}

void block_cache_free(struct block_cache *cache) {
	if (!cache)
		return;
	while (cache->oldest) {
		struct block *block = cache->oldest;
		list_remove(cache, block);
		block_free(cache, block);
	}
	pthread_cond_destroy(&cache->filled);
	pthread_mutex_destroy(&cache->lock);
	free(cache->bucket);
	free(cache);
}

// A block to fill: the one unused longest when the cache is full (its memory is warm), else a new one. When all are pinned the bound gives way
// rather than block a thread for ever; such a block is freed when it is released.
static struct block *take(struct block_cache *cache) {
	struct block *block = cache->oldest;
	if (block && cache->count >= cache->limit) {
		list_remove(cache, block);
		bucket_remove(cache, block);
		return block;
	}
	block = calloc(1, sizeof *block);
	if (!block)
		return NULL;
	block->data = malloc(cache->capacity);
	if (!block->data) {
		free(block);
		return NULL;
	}
	block->cache = cache;
	cache->count++;
	return block;
}

// Drops one pin; the lock is held.
static void unpin(struct block_cache *cache, struct block *block) {
	if (--block->pins)
		return;
	if (block->error) {
		block_free(cache, block);
	} else if (cache->count > cache->limit) {
		bucket_remove(cache, block);
		block_free(cache, block);
	} else {
		list_add(cache, block);
	}
}

// Waits for another thread that fills the block; the lock is held.
static int join(struct block_cache *cache, struct block *block) {
	list_remove(cache, block);
	block->pins++;
	while (block->loading)
		pthread_cond_wait(&cache->filled, &cache->lock);
	int error = block->error;
	if (error)
		unpin(cache, block);
	return error;
}

int block_cache_get(struct block_cache *cache, uint64_t at, uint32_t tag,
		ssize_t (*fill)(void *arg, void *data, size_t capacity), void *arg, struct block **found) {
	pthread_mutex_lock(&cache->lock);
	struct block **bucket = bucket_of(cache, at), *block;
	for (block = *bucket; block; block = block->chain) {
		if (block->at == at && block->tag == tag) {
			int error = join(cache, block);
			pthread_mutex_unlock(&cache->lock);
			*found = block;
			return error;
		}
	}
	block = take(cache);
	if (!block) {
		pthread_mutex_unlock(&cache->lock);
		return -ENOMEM;
	}
	block->at = at;
	block->tag = tag;
	block->pins = 1;
	block->error = 0;
	block->loading = 1;
	block->chain = *bucket;
	*bucket = block;
	pthread_mutex_unlock(&cache->lock);

	ssize_t size = fill(arg, block->data, cache->capacity);

	pthread_mutex_lock(&cache->lock);
	block->loading = 0;
	int error = size < 0 ? (int)size : 0;
	if (error) {
		// Forgotten at once, so that a passing failure is tried again; threads that wait see the error.
		block->error = error;
		bucket_remove(cache, block);
		pthread_cond_broadcast(&cache->filled);
		unpin(cache, block);
	} else {
		block->size = (size_t)size;
		pthread_cond_broadcast(&cache->filled);
		*found = block;
	}
	pthread_mutex_unlock(&cache->lock);
	return error;
}

void block_cache_release(struct block *block) {
	struct block_cache *cache = block->cache;
	pthread_mutex_lock(&cache->lock);
	unpin(cache, block);
	pthread_mutex_unlock(&cache->lock);
}
