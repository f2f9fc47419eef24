// SPDX-License-Identifier: Apache-2.0
// Directories: decoded once into a listing that is shared and cached, so that a lookup is a binary search and a cookie an index.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sqfs/dir.h>
#include <sqfs/error.h>

#include "image_inside.h"

#define MAX_NAME_BYTES 255

struct draft {
	struct entry *entry;
	size_t count, entry_room;
	char *names;
	size_t names_size, names_room;
	int sorted;
};

static int name_allowed(const char *name, size_t size) {
	if (!size || size > MAX_NAME_BYTES || (name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.'))))
		return 0;
	return !memchr(name, '/', size) && !memchr(name, 0, size);
}

static void keep_bad_name(struct image_reader *reader, const char *name, size_t size) {
	size_t kept = size < sizeof reader->bad_name ? size : sizeof reader->bad_name - 1;
	for (size_t i = 0; i < kept; i++)
		reader->bad_name[i] = name[i] >= ' ' && name[i] <= '~' ? name[i] : '?';
	reader->bad_name[kept] = 0;
}

const char *image_bad_name(const struct image_reader *reader) {
	return reader->bad_name;
}

static int grow(void **data, size_t *room, size_t needed, size_t unit) {
	if (needed <= *room)
		return 0;
	size_t wanted = *room ? *room * 2 : 32;
	while (wanted < needed)
		wanted *= 2;
	void *moved = realloc(*data, wanted * unit);
	if (!moved)
		return -ENOMEM;
	*data = moved;
	*room = wanted;
	return 0;
}

static int compare(const char *a, size_t a_size, const char *b, size_t b_size) {
	int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
	return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int add(struct image_reader *reader, struct draft *draft, const sqfs_dir_entry_t *raw, uint64_t ref) {
	const char *name = (const char *)raw->name;
	size_t size = (size_t)raw->size + 1;
	if (!name_allowed(name, size)) {
		keep_bad_name(reader, name, size);
		return -EIO;
	}
	if (ref >> 48 || !raw->type || raw->type > SQFS_INODE_EXT_SOCKET)
		return -EIO;
	if (draft->count) {
		const struct entry *last = &draft->entry[draft->count - 1];
		if (compare(draft->names + last->name, last->size, name, size) >= 0)
			draft->sorted = 0;
	}
	if (draft->names_size + size + 1 > UINT32_MAX)
		return -EIO;
	if (grow((void **)&draft->entry, &draft->entry_room, draft->count + 1, sizeof *draft->entry)
			|| grow((void **)&draft->names, &draft->names_room, draft->names_size + size + 1, 1))
		return -ENOMEM;
	draft->entry[draft->count++] = (struct entry){ ref, (uint32_t)draft->names_size, (uint16_t)size, raw->type };
	memcpy(draft->names + draft->names_size, name, size);
	draft->names[draft->names_size + size] = 0;
	draft->names_size += size + 1;
	return 0;
}

static int read_entries(struct image_reader *reader, const struct node *dir, struct draft *draft) {
	sqfs_readdir_state_t state = dir->dir;
	for (;;) {
		sqfs_dir_entry_t *raw = NULL;
		sqfs_u64 ref;
		int status = sqfs_meta_reader_readdir(reader->dirs, &state, &raw, NULL, &ref);
		if (status)
			return status < 0 ? errno_of_sqfs(status) : 0;
		int error = add(reader, draft, raw, ref);
		sqfs_free(raw);
		if (error)
			return error;
	}
}

static struct listing *pack(const struct draft *draft, uint64_t key) {
	size_t bytes = sizeof(struct listing) + draft->count * sizeof(struct entry) + draft->names_size;
	struct listing *listing = calloc(1, bytes);
	if (!listing)
		return NULL;
	char *names = (char *)(listing->entry + draft->count);
	listing->object.key = key;
	listing->object.bytes = bytes;
	listing->count = draft->count;
	listing->sorted = draft->sorted;
	listing->names = names;
	if (draft->count) {
		memcpy(listing->entry, draft->entry, draft->count * sizeof(struct entry));
		memcpy(names, draft->names, draft->names_size);
	}
	return listing;
}

int listing_get(struct image_reader *reader, uint64_t ref, struct listing **listing) {
	struct object_cache *objects = reader->image->objects;
	struct object *object = object_cache_get(objects, ref | LISTING_KEY);
	struct draft draft = { .sorted = 1 };
	struct node *dir;
	reader->bad_name[0] = 0;
	if (object) {
		*listing = (struct listing *)object;
		return 0;
	}
	int error = node_get(reader, ref, &dir);
	if (error)
		return error;
	if (!S_ISDIR(dir->stat.mode))
		error = -ENOTDIR;
	else if ((error = read_entries(reader, dir, &draft)))
		image_reader_reset(reader);
	node_release(reader, dir);
	if (!error) {
		struct listing *made = pack(&draft, ref | LISTING_KEY);
		if (made)
			*listing = (struct listing *)object_cache_put(objects, &made->object);
		else
			error = -ENOMEM;
	}
	free(draft.entry);
	free(draft.names);
	return error;
}

void listing_release(struct image_reader *reader, struct listing *listing) {
	object_cache_release(reader->image->objects, &listing->object);
}

static const struct entry *search(const struct listing *listing, const char *name, size_t size) {
	size_t low = 0, high = listing->count;
	if (!listing->sorted) {
		for (size_t i = 0; i < listing->count; i++)
			if (!compare(listing->names + listing->entry[i].name, listing->entry[i].size, name, size))
				return &listing->entry[i];
		return NULL;
	}
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct entry *entry = &listing->entry[middle];
		int order = compare(listing->names + entry->name, entry->size, name, size);
		if (!order)
			return entry;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

int image_lookup(struct image_reader *reader, uint64_t dir, const char *name, size_t size, uint64_t *ref) {
	struct listing *listing;
	int error = listing_get(reader, dir, &listing);
	if (error)
		return error;
	const struct entry *entry = search(listing, name, size);
	if (entry)
		*ref = entry->ref;
	else
		error = size > MAX_NAME_BYTES ? -ENAMETOOLONG : -ENOENT;
	listing_release(reader, listing);
	return error;
}

// Entries carry basic types, but tools differ about extended ones.
static uint32_t entry_type_bits(uint16_t type) {
	static const uint32_t bits[] = { S_IFDIR, S_IFREG, S_IFLNK, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK };
	return bits[(type - 1) % (sizeof bits / sizeof *bits)];
}

int image_list(struct image_reader *reader, uint64_t dir, uint64_t cookie,
		int (*each)(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next), void *arg) {
	struct listing *listing;
	int error = listing_get(reader, dir, &listing);
	if (error)
		return error;
	for (uint64_t i = cookie; i < listing->count; i++) {
		const struct entry *entry = &listing->entry[i];
		if (each(arg, listing->names + entry->name, entry->size, entry->ref, entry_type_bits(entry->type), i + 1))
			break;
	}
	listing_release(reader, listing);
	return 0;
}
