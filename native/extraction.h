// SPDX-License-Identifier: Apache-2.0
// Unpacking instead of mounting: where to, by whom, until when.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "dirs.h"
#include "fault.h"

struct extraction_request {
	int file;                  // open file that holds the image
	uint64_t offset, size;
	const char *place;         // directory of ours; ignored with a target
	const char *target;        // as the user named it, or ""
	const char *digest;
	bool keep, reuse, quiet, keep_owners;
};

struct extraction {
	int control;               // to the janitor, until watch_hand_over; -1: none
	int lock;                  // the janitor's own lock of the tree (one open file description), or -1
	char *path;                // of the tree, in the caller's view of the host; NULL: not unpacked to a directory
	dev_t dev;
	ino_t ino;
};
#define EXTRACTION_NONE {.control = -1, .lock = -1}

// Unpacks (or takes an earlier complete target) and returns when the tree is there. Call before any namespace is created. 0 or -1.
int extraction_start(struct extraction *extraction, const struct extraction_request *request, struct fault *why);

// An O_PATH descriptor of the tree, in the mount namespace of now; -1 with why.
int extraction_open(const struct extraction *extraction, struct fault *why);

// Unpacks into an open empty directory, in this process; for memory. 0 or -1.
int extraction_into(int dir, const struct extraction_request *request, struct fault *why);

// Removes what killed runs left in our directories, in a background process, which is started only when there is something.
void extraction_sweep(const struct dirs *dirs);
