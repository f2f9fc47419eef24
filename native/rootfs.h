// SPDX-License-Identifier: Apache-2.0
// The container's root filesystem while it is put together: where it is mounted on the host's side, and how it becomes "/".
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fault.h"
#include "paths.h"

struct rootfs {
	int fd;            // O_PATH descriptor of the root's topmost mount; -1 before one is mounted
	int staging;       // directory on a tmpfs of our own for what must not be seen by path; -1: none was needed
	const char *base;  // the host's directory that is covered by the staging tmpfs, or by the root itself
	struct { dev_t dev; ino_t ino; } above[8];   // the base and the directories above it
	unsigned above_count;
	bool spare;        // hooks still look at the host: cover a directory that shows nothing anyway
	bool keep_staging; // leave the staging tmpfs below the root for as long as the mount namespace lives (extraction.h)
	unsigned injected; // private files made so far
};
#define ROOTFS_NONE {.fd = -1, .staging = -1}

// Chooses the base, before anything is mounted. 0 or -1.
int rootfs_choose_base(struct rootfs *rootfs, struct fault *why);

// Whether the base lies below that directory (an O_PATH descriptor), or is it.
bool rootfs_covers(const struct rootfs *rootfs, int directory);

// Mounts the staging tmpfs (size_bytes 0: the kernel's default of half the memory). Call before the root is mounted. 0 or -1.
int rootfs_stage(struct rootfs *rootfs, uint64_t size_bytes, struct fault *why);

// An O_PATH descriptor of the directory to mount the root on, or -1. Call rootfs_refresh after each mount on it.
int rootfs_mountpoint(struct rootfs *rootfs, struct fault *why);
int rootfs_refresh(struct rootfs *rootfs, struct fault *why);

// Mounts the directory behind an O_PATH descriptor of this mount namespace, or the squashfs image in a part of an open file, as the root;
// nosuid and nodev, read-only when asked for. 0 or -1.
int rootfs_bind(struct rootfs *rootfs, int source, bool readonly, struct fault *why);
int rootfs_loop(struct rootfs *rootfs, int file, uint64_t offset, uint64_t size, struct fault *why);

// Makes the root's own mount read-only. 0 or -1.
int rootfs_protect(struct rootfs *rootfs, struct fault *why);

// Makes the root the process's root directory and forgets the host's: pivot_root(2), or where "/" is the kernel's first rootfs or a chroot, a moved mount. 0 or -1.
int rootfs_pivot(struct rootfs *rootfs, struct fault *why);
