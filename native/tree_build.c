// SPDX-License-Identifier: Apache-2.0
// Resolving synthetic entries inside the image. Symlinks of the image are hostile input: they are followed here, on the tree itself, and
// never on the host.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "plan.h"
#include "tree.h"

#define MAX_SYMLINKS 40            // as the kernel: path_resolution(7)
#define MAX_DEPTH (PATH_MAX / 2)
#define MAX_PENDING (2 * PATH_MAX)

struct walk {
	struct tree *tree;
	struct image_reader *reader;
	uint64_t stack[MAX_DEPTH];      // the directories from the root to where we are, for ".."
	size_t depth;
	char pending[MAX_PENDING];      // what is still to be walked
	unsigned symlinks;
};

static int add_node(struct tree *tree, uint32_t mode, const char *data, size_t size, uint64_t *id)
{
	if (tree->node_count == tree->node_capacity) {
		size_t capacity = tree->node_capacity ? 2 * tree->node_capacity : 64;
		struct tree_node *node = reallocarray(tree->node, capacity, sizeof *node);
		if (!node)
			return -ENOMEM;
		tree->node = node;
		tree->node_capacity = capacity;
	}
	*id = TREE_SYNTHETIC | tree->node_count;
	tree->node[tree->node_count++] = (struct tree_node){ .mode = mode, .data = data, .size = size };
	return 0;
}

// Keeps names sorted while building, because later entries look up earlier ones.
static int add_name(struct tree *tree, uint64_t parent, const char *text, size_t size, uint64_t id)
{
	size_t count, at;
	const struct tree_name *added = tree_names(tree, parent, &count);
	struct tree_name *known = (struct tree_name *)tree_find(tree, parent, text, size);
	char *copy;

	if (known) {
		known->id = id;
		return 0;
	}
	copy = strndup(text, size);
	if (!copy)
		return -ENOMEM;
	at = added ? (size_t)(added - tree->name) : 0;
	for (; count > 0 && strcmp(tree->name[at].name, copy) < 0; count--)
		at++;
	if (tree->name_count == tree->name_capacity) {
		size_t capacity = tree->name_capacity ? 2 * tree->name_capacity : 64;
		struct tree_name *name = reallocarray(tree->name, capacity, sizeof *name);
		if (!name) {
			free(copy);
			return -ENOMEM;
		}
		tree->name = name;
		tree->name_capacity = capacity;
	}
	memmove(tree->name + at + 1, tree->name + at, (tree->name_count - at) * sizeof *tree->name);
	tree->name[at] = (struct tree_name){ .parent = parent, .id = id, .name = copy, .size = size };
	tree->name_count++;
	return 0;
}

static int add_entry(struct walk *walk, const char *name, size_t size, uint32_t mode, const char *data, size_t data_size, uint64_t *id)
{
	int error;

	if (size > TREE_NAME_MAX)
		return -ENAMETOOLONG;
	error = add_node(walk->tree, mode, data, data_size, id);
	return error ? error : add_name(walk->tree, walk->stack[walk->depth], name, size, *id);
}

// Cuts the next component off what is pending: its size, 0 at the end. last: nothing but slashes follows.
static size_t next_component(struct walk *walk, char name[PATH_MAX], bool *last)
{
	char *start = walk->pending + strspn(walk->pending, "/");
	size_t size = strcspn(start, "/");
	char *rest = start + size + strspn(start + size, "/");

	*last = *rest == '\0';
	if (size < PATH_MAX) {
		memcpy(name, start, size);
		name[size] = '\0';
	}
	memmove(walk->pending, rest, strlen(rest) + 1);
	return size;
}

static int follow_link(struct walk *walk, uint64_t id)
{
	char rest[MAX_PENDING], target[PATH_MAX];
	ssize_t size = tree_readlink(walk->tree, walk->reader, id, target, sizeof target);

	if (size < 0)
		return (int)size;
	if (++walk->symlinks > MAX_SYMLINKS)
		return -ELOOP;
	if (size == 0)
		return -ENOENT;
	if (memchr(target, '\0', (size_t)size))
		return -EIO;
	strcpy(rest, walk->pending);
	if ((size_t)size + 1 + strlen(rest) >= sizeof walk->pending)
		return -ENAMETOOLONG;
	if (target[0] == '/')
		walk->depth = 0;
	memcpy(walk->pending, target, (size_t)size);
	walk->pending[size] = '/';
	strcpy(walk->pending + size + 1, rest);
	return 0;
}

static int enter(struct walk *walk, uint64_t id)
{
	if (walk->depth + 1 >= MAX_DEPTH)
		return -ENAMETOOLONG;
	walk->stack[++walk->depth] = id;
	return 0;
}

// Puts one entry where the walk ends. id is what is there, when found.
static int place(struct walk *walk, const struct serve_entry *entry, const char *name, size_t size, bool found, uint64_t id, uint32_t mode)
{
	switch (entry->kind) {
	case ENTRY_DIR:
		if (found)
			return S_ISDIR(mode) ? 0 : -ENOTDIR;
		return add_entry(walk, name, size, S_IFDIR | (entry->mode & 07777), NULL, 0, &id);
	case ENTRY_MOUNTPOINT:
		return found ? 0 : add_entry(walk, name, size, S_IFREG | (entry->mode & 07777), entry->data, entry->size, &id);
	case ENTRY_FILE:
		if (found && S_ISDIR(mode))
			return -EISDIR;
		return add_entry(walk, name, size, S_IFREG | (entry->mode & 07777), entry->data, entry->size, &id);
	case ENTRY_SYMLINK:
		if (found && S_ISDIR(mode))
			return -EISDIR;
		if (entry->size == 0 || entry->size >= PATH_MAX || memchr(entry->data, '\0', entry->size))
			return -EINVAL;
		return add_entry(walk, name, size, S_IFLNK | 0777, entry->data, entry->size, &id);
	default:
		return -EINVAL;
	}
}

// Walks to the last component of the entry's path, making missing parents, and places the entry. 0 or a negative errno.
static int add(struct walk *walk, const struct serve_entry *entry)
{
	bool replaces = entry->kind == ENTRY_FILE || entry->kind == ENTRY_SYMLINK;

	for (;;) {
		struct image_node node = { .mode = 0 };
		char name[PATH_MAX];
		bool last;
		uint64_t id;
		size_t size = next_component(walk, name, &last);
		int error;

		if (size >= PATH_MAX)
			return -ENAMETOOLONG;
		if (size == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
			if (size == 2 && walk->depth > 0)
				walk->depth--;
			if (!last)
				continue;
			return replaces ? -EISDIR : 0;   // the path names a directory that is there
		}
		error = tree_lookup(walk->tree, walk->reader, walk->stack[walk->depth], name, size, &id);
		if (error == 0)
			error = tree_stat(walk->tree, walk->reader, id, &node);
		if (error != 0 && error != -ENOENT)
			return error;
		if (error == 0 && S_ISLNK(node.mode) && !(last && replaces)) {
			error = follow_link(walk, id);
			if (error)
				return error;
			continue;
		}
		if (last)
			return place(walk, entry, name, size, error == 0, id, node.mode);
		if (error == -ENOENT)
			error = add_entry(walk, name, size, S_IFDIR | 0755, NULL, 0, &id);
		else if (!S_ISDIR(node.mode))
			error = -ENOTDIR;
		if (error == 0)
			error = enter(walk, id);
		if (error)
			return error;
	}
}

static const char *kind_name(uint32_t kind)
{
	return kind == ENTRY_DIR ? "directory" : kind == ENTRY_FILE ? "file" : kind == ENTRY_SYMLINK ? "symlink"
		: kind == ENTRY_MOUNTPOINT ? "mountpoint" : "entry of an unknown kind";
}

static int explain(struct fault *why, const struct serve_entry *entry, int error)
{
	fault(why, error, "add the %s %s to the image", kind_name(entry->kind), entry->path);
	switch (error) {
	case ELOOP:
		fault_hint(why, "a symlink on that path leads back to itself in the image; choose another path");
		break;
	case ENOTDIR:
		fault_hint(why, "something on that path is not a directory in the image; choose another path");
		break;
	case EISDIR:
		fault_hint(why, "the image has a directory at that path; choose another path");
		break;
	case EIO:
		fault_hint(why, "the image seems to be damaged; check it with `bundler verify`");
		break;
	default:
		break;
	}
	return -1;
}

int tree_build(struct tree *tree, struct image *image, struct image_reader *reader,
	const struct serve_entry *entry, size_t count, struct fault *why)
{
	struct image_facts facts;
	struct walk *walk = malloc(sizeof *walk);

	if (!walk)
		return fault(why, ENOMEM, "build the file tree");
	image_describe(image, &facts);
	*tree = (struct tree){ .image = image, .root = image_root(image), .mtime = facts.mtime, .first_number = facts.inodes + 1 };
	for (size_t i = 0; i < count; i++) {
		size_t size = strlen(entry[i].path);
		int error = -ENAMETOOLONG;

		*walk = (struct walk){ .tree = tree, .reader = reader, .stack = { tree->root } };
		if (size < PATH_MAX) {
			memcpy(walk->pending, entry[i].path, size + 1);
			error = add(walk, &entry[i]);
		}
		if (error) {
			free(walk);
			return explain(why, &entry[i], -error);
		}
	}
	free(walk);
	return 0;
}
