// SPDX-License-Identifier: Apache-2.0
// Regular files: content from cached blocks straight to the file, holes left as holes.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "extract_inside.h"
#include "image_inside.h"

#define SPANS 64

static int write_at(int fd, const uint8_t *data, size_t size, uint64_t at) {
	while (size) {
		ssize_t done = pwrite(fd, data, size, (off_t)at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno;
		if (done == 0)
			return EIO;
		data += done;
		size -= (size_t)done;
		at += (uint64_t)done;
	}
	return 0;
}

// Copies [offset, offset+size) of the file. 0, a positive errno of the writing side, or a negative one of the image.
static int copy_range(struct extraction *run, struct image_reader *reader, uint64_t ref, int fd, uint64_t offset, uint64_t size) {
	uint32_t block_size = reader->image->super.block_size;
	while (size) {
		struct image_span span[SPANS];
		// Few blocks at a time, so that all workers together pin little.
		size_t part = block_size < 65536 ? SPANS / 2 * (size_t)block_size : 2 * (size_t)block_size;
		if (part > size)
			part = (size_t)size;
		if (atomic_load_explicit(&run->failed, memory_order_relaxed))
			return ECANCELED;
		int count = image_map(reader, ref, offset, part, span, SPANS);
		if (count <= 0)
			return count ? count : -EIO;
		int error = 0;
		uint64_t before = offset;
		for (int i = 0; i < count; i++) {
			if (!error && !image_span_is_hole(&span[i]))
				error = write_at(fd, span[i].data, span[i].size, offset);
			offset += span[i].size;
		}
		image_release(reader, span, count);
		if (error)
			return error;
		size -= offset - before;
		atomic_fetch_add_explicit(&run->bytes_done, offset - before, memory_order_relaxed);
	}
	return 0;
}

// Makes a file that must not be there, or opens one that the walker has made.
static int open_file(const struct job *job) {
	int flags = job->exists ? O_WRONLY : O_WRONLY | O_CREAT | O_EXCL;
	return openat(job->place->fd, job->name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
}

// A file that ends in a hole, or is one, gets its length by this.
static int ends_in_hole(struct image_reader *reader, uint64_t ref, uint64_t size) {
	struct image_span span;
	if (!size || image_map(reader, ref, size - 1, 1, &span, 1) != 1)
		return 0;
	int hole = image_span_is_hole(&span);
	image_release(reader, &span, 1);
	return hole;
}

static int count_file(struct extraction *run, uint64_t size) {
	pthread_mutex_lock(&run->lock);
	run->report->files++;
	run->report->bytes += size;
	pthread_mutex_unlock(&run->lock);
	return 0;
}

static int copy_whole(struct extraction *run, struct image_reader *reader, const struct job *job, int fd) {
	int error = copy_range(run, reader, job->ref, fd, 0, job->size);
	if (!error && ends_in_hole(reader, job->ref, job->size) && ftruncate(fd, (off_t)job->size))
		error = errno;
	return error;
}

static int explain(struct extraction *run, const struct job *job, int error) {
	if (error < 0)
		return extract_fail(run, -error, job->place, job->name, 0, "read from the image");
	return extract_fail(run, error, job->place, job->name, job->size, "write");
}

static int do_piece(struct extraction *run, struct image_reader *reader, struct job *job) {
	struct big_file *big = job->big;
	struct image_node node;
	int status = 0, error = copy_range(run, reader, job->ref, big->fd, job->offset, job->size);
	if (error)
		status = explain(run, job, error);
	if (atomic_fetch_sub(&big->pieces, 1) != 1)
		return status;
	// The last piece: the length was set when the file was made.
	if (!status && !atomic_load(&run->failed)) {
		status = finish_fd(run, reader, big->fd, job->ref, job->place, job->name);
		if (!status && !image_stat(reader, job->ref, &node))
			count_file(run, node.size);
	}
	if (close(big->fd) && !status)
		status = extract_fail(run, errno, job->place, job->name, 0, "close");
	free(big);
	return status;
}

int do_job(struct extraction *run, struct image_reader *reader, struct job *job) {
	if (job->big)
		return do_piece(run, reader, job);
	int fd = open_file(job);
	if (fd < 0)
		return extract_fail(run, errno, job->place, job->name, job->size, "create");
	int error = copy_whole(run, reader, job, fd), status = 0;
	if (error)
		status = explain(run, job, error);
	else
		status = finish_fd(run, reader, fd, job->ref, job->place, job->name);
	// Some file systems report a full disk or quota only here.
	if (close(fd) && !status)
		status = extract_fail(run, errno, job->place, job->name, job->size, "write");
	return status ? status : count_file(run, job->size);
}
