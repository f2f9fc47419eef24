// SPDX-License-Identifier: Apache-2.0
// Unpacking an image into a directory, on all cores.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "fault.h"
#include "image.h"

struct extract_report {
	uint64_t files, bytes;             // regular files and their content
	uint64_t skipped_devices;          // device nodes a plain user may not make
	uint64_t skipped_xattrs;           // attributes that may not be set (trusted.*, security.* ..)
};

struct extract_options {
	unsigned threads;                  // 0: one a CPU
	int keep_owners;                   // chown to the image's owners (real root only)
	void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);   // may be NULL; called from one thread, at most ten times a second
	void *arg;
};

// Unpacks the whole image below the open directory `dir` (empty, ours). Every write is relative to a descriptor inside it and never follows a symlink.
// Hard links, modes, times, symlinks, sparse files, user.* xattrs are kept. Duplicate names, ".", "..", "/" in a name: refused. 0 or -1.
int extract_tree(struct image *image, int dir, const struct extract_options *options, struct extract_report *report, struct fault *why);

// Bytes of all regular files of an image, hard links once; looks at every inode. 0 or a negative errno.
int measure_image(struct image *image, uint64_t *bytes);

// Names to be found among all regular files and symlinks: those that begin with one of the prefixes.
struct name_search {
	const char *const *prefix;
	size_t count;
	// path: absolute, in the image, and valid only during the call; of a hard link each name. Those of PATH_MAX bytes and more are left out.
	void (*found)(void *arg, size_t prefix, const char *path);
	void *arg;
};

// The same as measure_image, and tells of names on the way: entries in their order, what is in a directory before the entry after it.
int search_image(struct image *image, const struct name_search *search, uint64_t *bytes);

// Removes everything below an open directory (not itself), making unreadable directories ours first; never crosses a mount. 0 or -1 (the first failure; it goes on).
int remove_tree(int dir, struct fault *why);
