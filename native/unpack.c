// SPDX-License-Identifier: Apache-2.0
// Unpacking: how much it takes, whether there is room, and a bar that shows how far it is.
#include "unpack.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "extract.h"
#include "image.h"

enum { CACHE_BYTES = 32 << 20, BLOCK_BYTES = 4096 };

static int fault_space(struct fault *why, int error, const char *place, uint64_t need, uint64_t available)
{
	fault(why, error, "unpack the image in %s: it needs %.1f MB, and %.1f MB are free", place, (double)need / 1e6, (double)available / 1e6);
	return fault_hint(why, "make room there, or unpack elsewhere: --target DIR or BUNDLER_CACHE_DIR=DIR");
}

static int check_space(struct image *image, int dir, const char *place, uint64_t *need, struct fault *why)
{
	struct image_facts facts;
	struct statvfs disk;
	uint64_t available;
	int error = measure_image(image, need);

	if (error < 0)
		return fault(why, -error, "read the image's directories");
	image_describe(image, &facts);
	*need += (uint64_t)facts.inodes * BLOCK_BYTES;   // what half filled blocks and directories take
	if (fstatvfs(dir, &disk) < 0 || disk.f_blocks == 0)
		return 0;
	available = (uint64_t)disk.f_bavail * disk.f_frsize;
	// more than any compressor saves on real data: the files have holes, whose size says nothing
	if (*need > facts.bytes_used * 64 + (uint64_t)facts.inodes * BLOCK_BYTES)
		return 0;
	if (*need > available)
		return fault_space(why, ENOSPC, place, *need, available);
	if (disk.f_files > 0 && disk.f_favail > 0 && facts.inodes > disk.f_favail)
		return fault(why, ENOSPC, "unpack the image in %s: it needs %u inodes, and %llu are free", place,
			facts.inodes, (unsigned long long)disk.f_favail);
	return 0;
}

int unpack_into(int dir, const struct unpack_request *request, struct fault *why)
{
	struct extract_options options = {
		.keep_owners = request->keep_owners, .progress = request->progress, .arg = request->arg,
	};
	struct extract_report report;
	struct statvfs disk;
	struct image *image;
	uint64_t need = 0;
	int status;

	if (image_open(&image, request->file, request->offset, request->size, CACHE_BYTES, why) < 0)
		return -1;
	status = check_space(image, dir, request->place, &need, why);
	if (status == 0) {
		status = extract_tree(image, dir, &options, &report, why);
		if (status < 0 && (why->error == ENOSPC || why->error == EDQUOT))
			fault_space(why, why->error, request->place, need, fstatvfs(dir, &disk) < 0 ? 0 : (uint64_t)disk.f_bavail * disk.f_frsize);
	}
	image_close(image);
	return status;
}

void progress_draw(uint64_t bytes_done, uint64_t bytes_total)
{
	enum { WIDTH = 30 };
	char bar[WIDTH + 1], line[128];
	unsigned filled = bytes_total ? (unsigned)((double)WIDTH * (double)bytes_done / (double)bytes_total) : WIDTH;
	int size;

	filled = filled > WIDTH ? WIDTH : filled;
	memset(bar, ' ', WIDTH);
	memset(bar, '#', filled);
	bar[WIDTH] = 0;
	size = snprintf(line, sizeof line, "\runpacking [%s] %.0f of %.0f MB", bar, (double)bytes_done / 1e6, (double)bytes_total / 1e6);
	if (write(STDERR_FILENO, line, (size_t)size) < 0) {
		// a bar is not worth an error
	}
}

void progress_wipe(void)
{
	if (write(STDERR_FILENO, "\r\033[K", 4) < 0) {
		// nor is wiping it
	}
}
