// SPDX-License-Identifier: Apache-2.0
// A writable overlay over the root.
#pragma once
#include "fault.h"
#include "rootfs.h"

// upper and work: O_PATH directories of one file system, or -1 for fresh ones on the staging tmpfs. 0 or -1.
int overlay_mount(struct rootfs *rootfs, int upper, int work, struct fault *why);
