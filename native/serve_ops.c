// SPDX-License-Identifier: Apache-2.0
// The operations on names and attributes. Everything may be cached for ever: an image does not change.
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include "serve_parts.h"

#define FOREVER_SECONDS 0x7fffffffu

// Flags we can use, by what they gained in measurements; the kernel offers a set and we answer with the ones wanted from it.
#define WANTED_FLAGS (FUSE_ASYNC_READ | FUSE_DO_READDIRPLUS | FUSE_PARALLEL_DIROPS | FUSE_CACHE_SYMLINKS | FUSE_MAX_PAGES \
	| FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT)

void serve_init(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size)
{
	const struct fuse_init_in *offer = in;
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	size_t out_size = sizeof out;

	// Older than 7.12 (Linux 2.6.31) is not worth a thought; a newer major version asks again with ours.
	if (size < 16 || offer->major < 7 || (offer->major == 7 && offer->minor < 12)) {
		serve_answer(worker, head->unique, -EPROTO, NULL, 0);
		return;
	}
	if (offer->major == 7) {
		out.max_readahead = offer->max_readahead;
		out.flags = offer->flags & WANTED_FLAGS;
		out.max_background = 64;
		out.congestion_threshold = 48;
		out.max_write = 4096;
		out.time_gran = 1;
		out.max_pages = SERVE_MAX_PAGES;
		atomic_store(&worker->server->no_open, (offer->flags & FUSE_NO_OPEN_SUPPORT) != 0);
		atomic_store(&worker->server->no_opendir, (offer->flags & FUSE_NO_OPENDIR_SUPPORT) != 0);
		if (offer->minor < 23)
			out_size = FUSE_COMPAT_22_INIT_OUT_SIZE;
	}
	serve_answer(worker, head->unique, 0, &out, out_size);
}

static void fill_attr(const struct server *server, const struct image_node *node, struct fuse_attr *attr)
{
	bool own = server->image_owners && !(node->ref & TREE_SYNTHETIC);

	*attr = (struct fuse_attr){
		.ino = node->number,
		.size = node->size,
		.blocks = (node->size + 511) / 512,
		.atime = node->mtime,
		.mtime = node->mtime,
		.ctime = node->mtime,
		.mode = node->mode,
		.nlink = node->links,
		.uid = own ? node->uid : server->uid,
		.gid = own ? node->gid : server->gid,
		.rdev = node->rdev,
	};
}

void serve_fill_entry(const struct server *server, const struct image_node *node, struct fuse_entry_out *entry)
{
	*entry = (struct fuse_entry_out){
		.nodeid = serve_nodeid(server, node->ref),
		.entry_valid = FOREVER_SECONDS,
		.attr_valid = FOREVER_SECONDS,
	};
	fill_attr(server, node, &entry->attr);
}

void serve_lookup(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size)
{
	const struct server *server = worker->server;
	struct fuse_entry_out entry;
	struct image_node node;
	size_t length = strnlen(in, size);
	uint64_t id;
	int error = -ENAMETOOLONG;

	if (length <= TREE_NAME_MAX)
		error = tree_lookup(&server->tree, worker->reader, serve_tree_id(server, head->nodeid), in, length, &id);
	if (error == 0)
		error = tree_stat(&server->tree, worker->reader, id, &node);
	if (error == -ENOENT) {
		// Node 0 says "not there", and for how long that may be remembered.
		entry = (struct fuse_entry_out){ .entry_valid = FOREVER_SECONDS };
		error = 0;
	} else if (error == 0) {
		serve_fill_entry(server, &node, &entry);
	}
	serve_answer(worker, head->unique, error, &entry, sizeof entry);
}

void serve_getattr(const struct worker *worker, const struct fuse_in_header *head)
{
	const struct server *server = worker->server;
	struct fuse_attr_out out = { .attr_valid = FOREVER_SECONDS };
	struct image_node node;
	int error = tree_stat(&server->tree, worker->reader, serve_tree_id(server, head->nodeid), &node);

	if (error == 0)
		fill_attr(server, &node, &out.attr);
	serve_answer(worker, head->unique, error, &out, sizeof out);
}

void serve_readlink(const struct worker *worker, const struct fuse_in_header *head)
{
	char target[PATH_MAX];
	ssize_t size = tree_readlink(&worker->server->tree, worker->reader, serve_tree_id(worker->server, head->nodeid), target, sizeof target - 1);

	serve_answer(worker, head->unique, size < 0 ? (int)size : 0, target, size < 0 ? 0 : (size_t)size);
}

// A kernel that knows FUSE_NO_OPEN_SUPPORT takes ENOSYS as "open without asking, and keep what is cached". Older ones get that answer each time.
void serve_open(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size)
{
	const struct server *server = worker->server;
	const struct fuse_open_in *asked = in;
	struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };
	int error = 0;

	if (head->opcode == FUSE_OPENDIR) {
		out.open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR;
		if (atomic_load(&server->no_opendir))
			error = -ENOSYS;
	} else if (atomic_load(&server->no_open)) {
		error = -ENOSYS;
	} else if (size < sizeof *asked) {
		error = -EINVAL;
	} else if ((asked->flags & 3) != 0) {   // O_WRONLY or O_RDWR
		error = -EROFS;
	}
	serve_answer(worker, head->unique, error, &out, sizeof out);
}

void serve_statfs(const struct worker *worker, const struct fuse_in_header *head)
{
	struct image_facts facts;
	struct fuse_statfs_out out = { .st = { .bsize = 4096, .frsize = 4096, .namelen = TREE_NAME_MAX } };

	image_describe(worker->server->image, &facts);
	out.st.blocks = (facts.bytes_used + 4095) / 4096;
	out.st.files = facts.inodes + worker->server->tree.node_count;
	serve_answer(worker, head->unique, 0, &out, sizeof out);
}
