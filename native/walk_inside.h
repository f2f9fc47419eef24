// SPDX-License-Identifier: Apache-2.0
// What the walkers share.
#pragma once
#include <sys/stat.h>
#include <sys/uio.h>

#include "known.h"
#include "walk.h"
#include "wire.h"

enum { WALK_MAX_DEPTH = 1000 };     // deeper than this no tool can name a file; it bounds stack and descriptors

struct walk {
	int output;
	struct fault *why;
	uint8_t *out;                    // records that are gathered
	size_t filled;
	char *path;                      // of the entry at hand, relative
	size_t path_size, path_room;
	unsigned depth;
	struct known_table seen;         // identities of inodes with several names
	uint64_t identities;
	uint32_t skipped;
	struct buffer xattrs;            // of the entry at hand, as they are sent
	uint16_t xattr_count;
};

int walk_begin(struct walk *walk, int output, struct fault *why);
int walk_end(struct walk *walk);      // sends the end
void walk_release(struct walk *walk);

// Goes to an entry of the directory at hand and back; path_size before is what goes back.
int walk_enter(struct walk *walk, const char *name);
void walk_leave(struct walk *walk, size_t path_size);
// A failure with the entry at hand; -1. what: "read"
int walk_fault(struct walk *walk, int error, const char *what);

// The identity of an inode by a key of its own; *before: it was met.
int walk_identify(struct walk *walk, uint64_t inode, uint64_t device, uint64_t *identity, int *before);

// Sends the entry at hand with the attributes that were added; is_link: a further name. Takes them.
int walk_add_xattr(struct walk *walk, const char *name, const void *value, size_t size);
int walk_send_entry(struct walk *walk, const struct stat *st, uint64_t identity, int is_link, const char *target, size_t target_size);
// Announces that many bytes of content, which must be sent next.
int walk_send_data(struct walk *walk, size_t size);
int walk_send(struct walk *walk, const void *data, size_t size);
