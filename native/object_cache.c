// SPDX-License-Identifier: Apache-2.0
#include "object_cache.h"

#include <pthread.h>
#include <stdlib.h>

#define BUCKETS 4096u

struct object_cache {
	size_t limit, used;               // bytes
	struct object *newest, *oldest;   // unpinned objects, by last use
	pthread_mutex_t lock;
	struct object *bucket[BUCKETS];
};

struct object_cache *object_cache_new(size_t bytes) {
	struct object_cache *cache = calloc(1, sizeof *cache);
	if (cache) {
		cache->limit = bytes;
		pthread_mutex_init(&cache->lock, NULL);
	}
	return cache;
}

void object_cache_free(struct object_cache *cache) {
	if (!cache)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct object *object = cache->bucket[i], *next; object; object = next) {
			next = object->chain;
			free(object);
		}
	}
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static struct object **bucket_of(struct object_cache *cache, uint64_t key) {
	return &cache->bucket[(key * 0x9e3779b97f4a7c15u) >> 52];
}

static void list_remove(struct object_cache *cache, struct object *object) {
	if (!object->listed)
		return;
	object->listed = 0;
	if (object->newer)
		object->newer->older = object->older;
	else
		cache->newest = object->older;
	if (object->older)
		object->older->newer = object->newer;
	else
		cache->oldest = object->newer;
}

static void list_add(struct object_cache *cache, struct object *object) {
	object->listed = 1;
	object->newer = NULL;
	object->older = cache->newest;
	if (cache->newest)
		cache->newest->newer = object;
	else
		cache->oldest = object;
	cache->newest = object;
}

static struct object *find(struct object_cache *cache, uint64_t key) {
	struct object *object = *bucket_of(cache, key);
	while (object && object->key != key)
		object = object->chain;
	return object;
}

// Frees what was unused longest until the bound holds; the newest stays, so that one huge directory is not decoded for each of its entries.
static void shrink(struct object_cache *cache) {
	while (cache->used > cache->limit && cache->oldest && cache->oldest != cache->newest) {
		struct object *object = cache->oldest;
		list_remove(cache, object);
		struct object **at = bucket_of(cache, object->key);
		while (*at != object)
			at = &(*at)->chain;
		*at = object->chain;
		cache->used -= object->bytes;
		free(object);
	}
}

struct object *object_cache_get(struct object_cache *cache, uint64_t key) {
	pthread_mutex_lock(&cache->lock);
	struct object *object = find(cache, key);
	if (object) {
		list_remove(cache, object);
		object->pins++;
	}
	pthread_mutex_unlock(&cache->lock);
	return object;
}

struct object *object_cache_put(struct object_cache *cache, struct object *object) {
	pthread_mutex_lock(&cache->lock);
	struct object *other = find(cache, object->key);
	if (other) {
		free(object);
		object = other;
		list_remove(cache, object);
		object->pins++;
	} else {
		struct object **bucket = bucket_of(cache, object->key);
		object->pins = 1;
		object->listed = 0;
		object->chain = *bucket;
		*bucket = object;
		cache->used += object->bytes;
	}
	pthread_mutex_unlock(&cache->lock);
	return object;
}

void object_cache_release(struct object_cache *cache, struct object *object) {
	pthread_mutex_lock(&cache->lock);
	if (--object->pins == 0) {
		list_add(cache, object);
		shrink(cache);
	}
	pthread_mutex_unlock(&cache->lock);
}
