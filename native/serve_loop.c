// SPDX-License-Identifier: Apache-2.0
// The raw FUSE protocol: requests in, answers out (linux/fuse.h; the kernel's Documentation/filesystems/fuse). Several threads read the same
// descriptor; the kernel gives each request to one of them.
#include <errno.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>
#include "serve_parts.h"

void serve_answer(const struct worker *worker, uint64_t unique, int error, const void *data, size_t size)
{
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof head + (error ? 0 : size)),
		.error = error,
		.unique = unique,
	};
	struct iovec part[2] = {
		{ .iov_base = &head, .iov_len = sizeof head },
		{ .iov_base = (void *)data, .iov_len = size },
	};
	// A failure means that the reader was interrupted or the mount is gone: nobody waits for this answer.
	ssize_t put = writev(worker->server->fuse, part, error || size == 0 ? 1 : 2);

	(void)put;
}

static void dispatch(const struct worker *worker, const struct fuse_in_header *head, const void *in, size_t size)
{
	switch (head->opcode) {
	case FUSE_INIT:
		serve_init(worker, head, in, size);
		break;
	case FUSE_LOOKUP:
		serve_lookup(worker, head, in, size);
		break;
	case FUSE_GETATTR:
		serve_getattr(worker, head);
		break;
	case FUSE_READLINK:
		serve_readlink(worker, head);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		serve_open(worker, head, in, size);
		break;
	case FUSE_READ:
		serve_read(worker, head, in, size);
		break;
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		serve_list(worker, head, in, size);
		break;
	case FUSE_STATFS:
		serve_statfs(worker, head);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;   // nothing is remembered, and the kernel wants no answer
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_DESTROY:
		serve_answer(worker, head->unique, 0, NULL, 0);
		break;
	case FUSE_SETATTR:
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
	case FUSE_WRITE:
	case FUSE_CREATE:
	case FUSE_TMPFILE:
	case FUSE_FALLOCATE:
		serve_answer(worker, head->unique, -EROFS, NULL, 0);
		break;
	default:
		// For INTERRUPT, ACCESS, the xattr calls, FLUSH, FSYNC, LSEEK, STATX and others the kernel takes this as "never ask again" and
		// does what a local file system would.
		serve_answer(worker, head->unique, -ENOSYS, NULL, 0);
		break;
	}
}

void serve_loop(struct worker *worker)
{
	for (;;) {
		ssize_t size = read(worker->server->fuse, worker->request, SERVE_REQUEST_BYTES);
		const struct fuse_in_header *head = (const struct fuse_in_header *)worker->request;

		if (size < 0) {
			// ENOENT: the request was withdrawn before we had it (fuse_dev_do_read).
			if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
				continue;
			return;   // ENODEV: the mount is gone
		}
		if ((size_t)size < sizeof *head || head->len != (size_t)size)
			return;
		dispatch(worker, head, head + 1, (size_t)size - sizeof *head);
	}
}
