// SPDX-License-Identifier: Apache-2.0
// What is put into a root filesystem in which nothing can be mounted.
#pragma once
#include <sys/types.h>
#include "fault.h"

// Copies a file of the host, up to 1 MiB, to path in the root. 0, also when there is no such file; -1.
int plain_copy(int root, const char *source, const char *path, mode_t mode, struct fault *why);

// Makes the character device that the host has at path. When that cannot be done, or the node cannot be opened (a file system mounted nodev, a rule of
// the cgroup), it says so on stderr and leaves nothing there. 0; -1 only when the root cannot be written.
int plain_node(int root, const char *path, struct fault *why);
