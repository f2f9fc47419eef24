// SPDX-License-Identifier: Apache-2.0
// Single files, directories and links made in a root that is not trusted.
#pragma once
#include <stddef.h>
#include <sys/types.h>
#include "fault.h"
#include "rootfs.h"

// All return 0 or -1. Parents are made where missing; the last component is never followed when it is a symlink (except by entry_mkdir,
// for which a symlink to a directory inside the root is the directory).
int entry_mkdir(int root, const char *path, mode_t mode, struct fault *why);
int entry_file(int root, const char *path, mode_t mode, const void *content, size_t size, struct fault *why);
int entry_symlink(int root, const char *path, const char *target, struct fault *why);

// Shows content at path by a read-only bind mount of a file on the staging tmpfs; a missing mountpoint is made.
int entry_inject(struct rootfs *rootfs, const char *path, mode_t mode, const void *content, size_t size, struct fault *why);
