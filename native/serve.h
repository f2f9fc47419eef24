// SPDX-License-Identifier: Apache-2.0
// The file server: a squashfs image, with synthetic entries added, over the raw FUSE protocol (linux/fuse.h).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fault.h"
#include "keeper.h"

struct serve_entry { uint32_t kind, mode; const char *path; const char *data; size_t size; };   // kinds: ENTRY_* of plan.h

struct serve_config {
	int file;                     // open descriptor of the file that holds the image
	uint64_t offset, size;
	uint32_t uid, gid;            // owner shown for every file, in the view of the namespace that mounts
	bool image_owners;            // the image's owners are shown instead, and those only for the entries
	unsigned threads;             // 0: one a CPU, at most 8
	uint64_t cache_bytes;         // 0: the default
	const struct serve_entry *entry;
	size_t entry_count;
	const struct keeper *keeper;  // of a mount that is shared: the server starts it once the image is open; else NULL
};

// Forks the server: double fork (no child remains with the caller, no SIGCHLD), own session, null stdio, keyboard signals ignored, the whole CPU set it
// may use, every other descriptor closed. The image is opened and the entries resolved in the child; a failure arrives through serve_mount.
// Returns the socket (CLOEXEC) to hand to serve_mount, or -1. Call before any namespace is created. The entries must not point into argv or the
// environment: the server overwrites its copies of those, so that ps shows its own name and no secret stays.
int serve_start(const struct serve_config *config, struct fault *why);

// The same in advance, while nobody knows yet what is to be shown: forks a server that opens the image (of the file's section at offset, of size
// bytes) and waits for its order. Its socket, or -1. It ends when the socket is closed.
int serve_prepare(int file, uint64_t offset, uint64_t size);

// Gives a prepared server its order, of which file, offset, size and cache_bytes count as given. From now on the socket is as serve_start returns it.
// 0, or -1: it is of no use, and the caller closes it.
int serve_order(int socket, const struct serve_config *config);

// In the mounting process, inside its namespaces: opens /dev/fuse, mounts it on `target` (a path such as /proc/self/fd/N) with mount flags
// ms_flags (read-only always; any_user: other users of the namespace may look at it, too), sends the descriptor to the server and closes both it and the socket. 0 or -1.
int serve_mount(int socket, const char *target, unsigned long ms_flags, bool any_user, struct fault *why);
