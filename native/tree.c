// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include "tree.h"

const struct tree_node *tree_node(const struct tree *tree, uint64_t id)
{
	uint64_t index = id & ~TREE_SYNTHETIC;

	return (id & TREE_SYNTHETIC) && index < tree->node_count ? &tree->node[index] : NULL;
}

const struct tree_name *tree_names(const struct tree *tree, uint64_t dir, size_t *count)
{
	size_t low = 0, high = tree->name_count, end;

	*count = 0;
	if (high == 0)
		return NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (tree->name[middle].parent < dir)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < tree->name_count && tree->name[end].parent == dir; end++)
		;
	*count = end - low;
	return tree->name + low;
}

const struct tree_name *tree_find(const struct tree *tree, uint64_t dir, const char *name, size_t size)
{
	size_t count;
	const struct tree_name *added = tree_names(tree, dir, &count);

	for (size_t i = 0; i < count; i++)
		if (added[i].size == size && memcmp(added[i].name, name, size) == 0)
			return &added[i];
	return NULL;
}

// Directories that were added to a directory: each has a ".." that counts as a link to it.
static uint32_t count_added_dirs(const struct tree *tree, uint64_t dir)
{
	size_t count;
	uint32_t dirs = 0;
	const struct tree_name *added = tree_names(tree, dir, &count);

	for (size_t i = 0; i < count; i++)
		if (S_ISDIR(tree_node(tree, added[i].id)->mode))
			dirs++;
	return dirs;
}

int tree_stat(const struct tree *tree, struct image_reader *reader, uint64_t id, struct image_node *node)
{
	const struct tree_node *own;

	if (!(id & TREE_SYNTHETIC)) {
		int error = image_stat(reader, id, node);
		if (error == 0 && tree->name_count > 0 && S_ISDIR(node->mode))
			node->links += count_added_dirs(tree, id);
		return error;
	}
	own = tree_node(tree, id);
	if (!own)
		return -ESTALE;
	*node = (struct image_node){
		.ref = id,
		.size = own->size,
		.number = tree->first_number + (uint32_t)(id & ~TREE_SYNTHETIC),
		.mode = own->mode,
		.links = S_ISDIR(own->mode) ? 2 + count_added_dirs(tree, id) : 1,
		.mtime = tree->mtime,
	};
	return 0;
}

int tree_lookup(const struct tree *tree, struct image_reader *reader, uint64_t dir, const char *name, size_t size, uint64_t *id)
{
	const struct tree_name *added = tree_find(tree, dir, name, size);
	const struct tree_node *own;

	if (added) {
		*id = added->id;
		return 0;
	}
	if (!(dir & TREE_SYNTHETIC))
		return image_lookup(reader, dir, name, size, id);
	own = tree_node(tree, dir);
	return !own ? -ESTALE : S_ISDIR(own->mode) ? -ENOENT : -ENOTDIR;
}

ssize_t tree_readlink(const struct tree *tree, struct image_reader *reader, uint64_t id, char *target, size_t size)
{
	const struct tree_node *own;

	if (!(id & TREE_SYNTHETIC))
		return image_readlink(reader, id, target, size);
	own = tree_node(tree, id);
	if (!own)
		return -ESTALE;
	if (!S_ISLNK(own->mode))
		return -EINVAL;
	if (size > own->size)
		size = own->size;
	memcpy(target, own->data, size);
	return (ssize_t)size;
}
