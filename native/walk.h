// SPDX-License-Identifier: Apache-2.0
// Sends everything in an image or a directory as a stream of records (docs/plan.md, role walk): parents first, names in the order of bytes.
#pragma once
#include <stdint.h>
#include "fault.h"

// The squashfs image of `size` bytes at `offset` of fd. Untrusted. 0, or -1 with why.
int walk_image_at(int fd, uint64_t offset, uint64_t size, int output, struct fault *why);
// A directory; what is mounted below it is left out, and symbolic links are not followed.
int walk_directory(const char *path, int output, struct fault *why);
