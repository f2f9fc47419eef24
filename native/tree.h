// SPDX-License-Identifier: Apache-2.0
// The tree that is served: the image with synthetic entries laid over it. Built once, then read by all threads without a lock.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fault.h"
#include "image.h"
#include "serve.h"

// A file is named by a tree id: a reference into the image, or TREE_SYNTHETIC with an index.
#define TREE_SYNTHETIC (1ULL << 63)
#define TREE_NAME_MAX 255

struct tree_node {
	uint32_t mode;      // type and permission bits
	const char *data;   // content or link target
	size_t size;
};

// One name added to a directory, in place of the image's entry of that name.
struct tree_name {
	uint64_t parent, id;
	const char *name;
	size_t size;
};

struct tree {
	struct image *image;
	uint64_t root;
	uint32_t mtime, first_number;   // of synthetic nodes; inode numbers go on where the image's end
	struct tree_node *node;
	size_t node_count, node_capacity;
	struct tree_name *name;         // sorted by parent and name once built
	size_t name_count, name_capacity;
};

// Resolves the entries in their order and adds them. The entries' data must outlive the tree. 0, or -1 with the path in why.
int tree_build(struct tree *tree, struct image *image, struct image_reader *reader,
	const struct serve_entry *entry, size_t count, struct fault *why);

// The node of a synthetic id; NULL for an id that was never given out.
const struct tree_node *tree_node(const struct tree *tree, uint64_t id);
// The names added to a directory: *count of them, sorted; NULL when nothing was added anywhere.
const struct tree_name *tree_names(const struct tree *tree, uint64_t dir, size_t *count);
// The added name in a directory, or NULL.
const struct tree_name *tree_find(const struct tree *tree, uint64_t dir, const char *name, size_t size);
// What stat(2) would say of any file in the tree; link counts of directories include added directories. 0 or a negative errno.
int tree_stat(const struct tree *tree, struct image_reader *reader, uint64_t id, struct image_node *node);
// Finds a name in a directory of the tree. 0 or a negative errno.
int tree_lookup(const struct tree *tree, struct image_reader *reader, uint64_t dir, const char *name, size_t size, uint64_t *id);
// The target of a symlink: bytes put (not terminated) or a negative errno.
ssize_t tree_readlink(const struct tree *tree, struct image_reader *reader, uint64_t id, char *target, size_t size);
