// SPDX-License-Identifier: Apache-2.0
// A writable overlay over the root.
#pragma once
#include <stdbool.h>
#include "fault.h"
#include "rootfs.h"

// upper and work: O_PATH directories of one file system, or -1 for fresh ones on the staging tmpfs; fresh: upper takes over the mode of the image's root.
struct overlay { int upper, work; bool fresh; };

// 0 or -1.
int overlay_mount(struct rootfs *rootfs, const struct overlay *overlay, struct fault *why);
