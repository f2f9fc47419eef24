// SPDX-License-Identifier: Apache-2.0
// What the parts of the file server share. Callers use serve.h.
#pragma once
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "image.h"
#include "serve.h"
#include "tree.h"

#define SERVE_MAX_THREADS 8
#define SERVE_REQUEST_BYTES (128u << 10)   // more than FUSE_MIN_READ_BUFFER, so that many forgets come at once
#define SERVE_LIST_BYTES (64u << 10)       // most of a directory listing in one reply
#define SERVE_MAX_PAGES 256                // most a read asks for, in pages of 4 KiB; the kernel's own limit for max_pages
#define SERVE_MAX_SPANS (SERVE_MAX_PAGES + 2)   // pieces of such a read: squashfs blocks are 4 KiB or more

struct server {
	int fuse;                       // the connection: /dev/fuse after mount(2)
	struct image *image;
	struct tree tree;
	uint32_t uid, gid;
	bool image_owners;
	atomic_bool no_open, no_opendir;   // the kernel can do without OPEN and OPENDIR
};

// One thread's own things.
struct worker {
	struct server *server;
	struct image_reader *reader;
	char *request, *reply;
};

// The first message on the socket: whether the image can be served.
struct serve_status { int failed; struct fault why; };

// Opens the image, reports over the socket, waits for the connection and serves it until the mount is gone. Never returns. await_order: what to show
// is told over the socket (serve_order.h), once the image is open.
_Noreturn void serve_run(const struct serve_config *config, int socket, bool await_order);

// Reads and answers requests until the connection ends.
void serve_loop(struct worker *worker);

// Answers: a negative errno alone, or size bytes of data.
void serve_answer(const struct worker *worker, uint64_t unique, int error, const void *data, size_t size);

// The operations; each answers exactly once. `in` is the request after its header, of `size` bytes.
void serve_init(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size);
void serve_lookup(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size);
void serve_getattr(const struct worker *worker, const struct fuse_in_header *head);
void serve_readlink(const struct worker *worker, const struct fuse_in_header *head);
void serve_open(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size);
void serve_read(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size);
void serve_list(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size);
void serve_statfs(const struct worker *worker, const struct fuse_in_header *head);

// Between the kernel's node ids and the tree's: the root is FUSE_ROOT_ID, other image files their reference + 2, synthetic ones as they are.
static inline uint64_t serve_nodeid(const struct server *server, uint64_t id)
{
	return id == server->tree.root ? FUSE_ROOT_ID : id & TREE_SYNTHETIC ? id : id + 2;
}

static inline uint64_t serve_tree_id(const struct server *server, uint64_t nodeid)
{
	return nodeid == FUSE_ROOT_ID ? server->tree.root : nodeid & TREE_SYNTHETIC ? nodeid : nodeid - 2;
}

// Fills what a name lookup returns: the node, its attributes, both valid for ever.
void serve_fill_entry(const struct server *server, const struct image_node *node, struct fuse_entry_out *entry);
