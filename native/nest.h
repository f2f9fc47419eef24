// SPDX-License-Identifier: Apache-2.0
// Nests: directories on the host that hold one unpacked root filesystem, or one writable layer, with a lock that tells whether somebody still uses it.
//
//   PREFIXXXXXXX/          mode 0700
//       lock               flock(2)ed for as long as the nest is in use: "HOST\n", then "MOUNT NAMESPACE\n" or "root INODE DEVICE\n"
//       root/              the tree
#pragma once
#include <limits.h>
#include <stdint.h>
#include "fault.h"

// Of nests in our own directories: with an unpacked image, with a writable layer.
#define NEST_PREFIX "extract-"
#define NEST_LAYER_PREFIX "layer-"

struct nest {
	int parent, dir, lock;        // descriptors
	char name[NAME_MAX + 1];
};
#define NEST_NONE {.parent = -1, .dir = -1, .lock = -1}

// Makes a nest below parent (not taken over), locked from the moment at which its name can be seen. 0 or -1.
int nest_make(struct nest *nest, int parent, const char *prefix, struct fault *why);

// How the processes that use a nest are known: by their mount namespace (the inode number of /proc/PID/ns/mnt), or by their root directory.
struct nest_user { int is_root; uint64_t inode, device; };

// Notes who uses it, so that a sweep spares it even after its keeper was killed.
void nest_note_user(int lock, const struct nest_user *user);

// Removes a nest: the tree, then the lock, then the directory, so that an interrupted removal can be finished by a sweep. 0 or -1.
int nest_remove(struct nest *nest, struct fault *why);
void nest_close(struct nest *nest);

// Counts the nests below parent with that prefix (NULL: those of our own directories) that nobody uses any more, and removes them when told to.
unsigned nest_sweep(int parent, const char *prefix, int remove);

// Waits until nobody fills a nest with that prefix. 1: it had to wait; 0: there was none.
int nest_wait(int parent, const char *prefix);

// Whether any process that we may look at uses it.
int nest_user_lives(const struct nest_user *user);
