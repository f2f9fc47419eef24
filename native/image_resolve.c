// SPDX-License-Identifier: Apache-2.0
// Paths inside the image: symlinks are followed within it, and ".." stops at its root.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image_inside.h"

#define MAX_SYMLINKS 40   // as the kernel

// The directories from the root to where the walk is, so that ".." needs no parent pointers (which an image may forge).
struct walk {
	struct image_reader *reader;
	uint64_t *trail;
	size_t depth, room;
	int links;
	char *rest;               // what is still to be walked
};

static uint64_t here(const struct walk *walk) {
	return walk->trail[walk->depth - 1];
}

static int enter(struct walk *walk, uint64_t ref) {
	if (walk->depth == walk->room) {
		uint64_t *moved = realloc(walk->trail, (walk->room + 64) * sizeof *moved);
		if (!moved)
			return -ENOMEM;
		walk->trail = moved;
		walk->room += 64;
	}
	walk->trail[walk->depth++] = ref;
	return 0;
}

// Puts the target in front of what remains.
static int follow(struct walk *walk, uint64_t ref, const char *rest) {
	if (++walk->links > MAX_SYMLINKS)
		return -ELOOP;
	char *joined = malloc(PATH_MAX + strlen(rest) + 2);
	if (!joined)
		return -ENOMEM;
	ssize_t size = image_readlink(walk->reader, ref, joined, PATH_MAX);
	if (size < 0) {
		free(joined);
		return (int)size;
	}
	if (joined[0] == '/')
		walk->depth = 1;
	joined[size] = '/';
	strcpy(joined + size + 1, rest);
	// "a -> b" as the last component: no slash is added, which would ask for a directory.
	if (!*rest)
		joined[size] = 0;
	free(walk->rest);
	walk->rest = joined;
	return 0;
}

// Takes one name. 1: the walk ended at *ref (not a directory); 0: go on with walk->rest.
static int take(struct walk *walk, const char *name, size_t size, const char *rest, int follow_last, uint64_t *ref) {
	struct image_node node;
	int last = !rest[strspn(rest, "/")], slash = *rest == '/';
	int error = image_lookup(walk->reader, here(walk), name, size, ref);
	if (error || (error = image_stat(walk->reader, *ref, &node)))
		return error;
	if (S_ISLNK(node.mode) && (!last || follow_last || slash))
		return follow(walk, *ref, rest);
	if (S_ISDIR(node.mode)) {
		if ((error = enter(walk, *ref)))
			return error;
		memmove(walk->rest, rest, strlen(rest) + 1);
		return 0;
	}
	return last && !slash ? 1 : -ENOTDIR;
}

static int walk_path(struct walk *walk, int follow_last, uint64_t *ref) {
	for (;;) {
		const char *name = walk->rest + strspn(walk->rest, "/");
		size_t size = strcspn(name, "/");
		const char *rest = name + size;
		if (!size) {
			*ref = here(walk);
			return 0;
		}
		if (size == 1 && name[0] == '.') {
			memmove(walk->rest, rest, strlen(rest) + 1);
		} else if (size == 2 && name[0] == '.' && name[1] == '.') {
			walk->depth -= walk->depth > 1;
			memmove(walk->rest, rest, strlen(rest) + 1);
		} else {
			int status = take(walk, name, size, rest, follow_last, ref);
			if (status)
				return status < 0 ? status : 0;
		}
	}
}

int image_resolve(struct image_reader *reader, const char *path, int follow_last, uint64_t *ref) {
	struct walk walk = { .reader = reader, .rest = strdup(path) };
	int error = walk.rest ? enter(&walk, image_root(reader->image)) : -ENOMEM;
	if (!error)
		error = walk_path(&walk, follow_last, ref);
	free(walk.trail);
	free(walk.rest);
	return error;
}
