// SPDX-License-Identifier: Apache-2.0
// File contents and directory listings.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "serve_parts.h"

#define UNKNOWN_NUMBER 0xffffffffu

// Answers straight from the cached blocks, which stay pinned until the kernel has copied them.
static void answer_spans(const struct worker *worker, uint64_t unique, const struct image_span *span, int count)
{
	struct fuse_out_header head = { .len = sizeof head, .unique = unique };
	struct iovec part[SERVE_MAX_SPANS + 1];
	ssize_t put;

	for (int i = 0; i < count; i++) {
		part[i + 1] = (struct iovec){ .iov_base = (void *)span[i].data, .iov_len = span[i].size };
		head.len += (uint32_t)span[i].size;
	}
	part[0] = (struct iovec){ .iov_base = &head, .iov_len = sizeof head };
	put = writev(worker->server->fuse, part, count + 1);
	(void)put;
}

void serve_read(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size)
{
	const struct server *server = worker->server;
	const struct fuse_read_in *asked = in;
	uint64_t id = serve_tree_id(server, head->nodeid);
	struct image_span span[SERVE_MAX_SPANS];
	int count;

	if (size < sizeof *asked || asked->size > SERVE_MAX_PAGES * 4096u) {
		serve_answer(worker, head->unique, -EINVAL, NULL, 0);
		return;
	}
	if (id & TREE_SYNTHETIC) {
		const struct tree_node *node = tree_node(&server->tree, id);
		int error = !node ? -ESTALE : S_ISREG(node->mode) ? 0 : -EISDIR;
		size_t rest = error || asked->offset >= node->size ? 0 : node->size - asked->offset;

		serve_answer(worker, head->unique, error, rest ? node->data + asked->offset : NULL, rest < asked->size ? rest : asked->size);
		return;
	}
	count = image_map(worker->reader, id, asked->offset, asked->size, span, SERVE_MAX_SPANS);
	if (count < 0) {
		serve_answer(worker, head->unique, count, NULL, 0);
		return;
	}
	answer_spans(worker, head->unique, span, count);
	image_release(worker->reader, span, count);
}

// A listing being put together. Cookies: 1 after ".", 2 after "..", 2 + n after the nth added name, then that plus the image's own cookies;
// so a cookie means the same place however often the directory is read.
struct list {
	const struct worker *worker;
	uint64_t dir, base;   // base: the cookie after the last added name
	bool plus;
	char *data;
	size_t size, capacity;
};

// 0, or 1 when the entry does not fit.
static int put_name(struct list *list, const char *name, size_t size, const struct image_node *node, uint32_t type, uint64_t next)
{
	size_t fixed = list->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	size_t whole = FUSE_DIRENT_ALIGN(fixed + size);
	char *at = list->data + list->size;
	struct fuse_dirent *dirent = (struct fuse_dirent *)at;

	if (list->capacity - list->size < whole)
		return 1;
	memset(at, 0, whole);
	if (list->plus) {
		struct fuse_direntplus *both = (struct fuse_direntplus *)at;
		// "." and "..", and files whose inode cannot be read, are listed without becoming known (node 0).
		if (node && size > 0 && !(name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.'))))
			serve_fill_entry(list->worker->server, node, &both->entry_out);
		dirent = &both->dirent;
	}
	dirent->ino = node ? node->number : UNKNOWN_NUMBER;
	dirent->off = next;
	dirent->namelen = (uint32_t)size;
	dirent->type = type >> 12;   // S_IFMT bits to DT_*
	memcpy(dirent->name, name, size);
	list->size += whole;
	return 0;
}

// A name in the directory by its id.
static int put(struct list *list, const char *name, size_t size, uint64_t id, uint32_t type, uint64_t next)
{
	struct image_node node;
	int error = tree_stat(&list->worker->server->tree, list->worker->reader, id, &node);

	return put_name(list, name, size, error ? NULL : &node, error ? type : node.mode & S_IFMT, next);
}

static int put_image_name(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next)
{
	struct list *list = arg;
	const struct tree *tree = &list->worker->server->tree;

	if (tree->name_count > 0 && tree_find(tree, list->dir, name, size))
		return 0;   // replaced
	return put(list, name, size, ref, type, list->base + next);
}

static int fill_list(struct list *list, uint64_t cookie)
{
	const struct tree *tree = &list->worker->server->tree;
	struct image_node self;
	size_t count;
	const struct tree_name *added = tree_names(tree, list->dir, &count);
	int error = tree_stat(tree, list->worker->reader, list->dir, &self);

	if (error)
		return error;
	if (!S_ISDIR(self.mode))
		return -ENOTDIR;
	list->base = 2 + count;
	if (cookie < 1 && put_name(list, ".", 1, &self, S_IFDIR, 1))
		return 0;
	if (cookie < 2 && put_name(list, "..", 2, NULL, S_IFDIR, 2))
		return 0;
	for (uint64_t i = cookie < 2 ? 0 : cookie - 2; i < count; i++)
		if (put(list, added[i].name, added[i].size, added[i].id, 0, 3 + i))
			return 0;
	if (list->dir & TREE_SYNTHETIC)
		return 0;
	error = image_list(list->worker->reader, list->dir, cookie < list->base ? 0 : cookie - list->base, put_image_name, list);
	// What was gathered before a damaged entry is still told; the next call meets the error again.
	return error < 0 && list->size == 0 ? error : 0;
}

void serve_list(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size)
{
	const struct fuse_read_in *asked = in;
	struct list list = {
		.worker = worker,
		.dir = serve_tree_id(worker->server, head->nodeid),
		.plus = head->opcode == FUSE_READDIRPLUS,
		.data = worker->reply,
		.capacity = SERVE_LIST_BYTES,
	};
	int error = -EINVAL;

	if (size >= sizeof *asked) {
		if (asked->size < list.capacity)
			list.capacity = asked->size;
		error = fill_list(&list, asked->offset);
	}
	serve_answer(worker, head->unique, error, list.data, list.size);
}
