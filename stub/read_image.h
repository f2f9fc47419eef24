// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdint.h>
#include "fault.h"
#include "wire.h"

// Looks at a squashfs image inside an open file: adds `image`, `unpacked`, and what the facts `path`, `head`, `look`, `names`, `tree` and `find` ask for
// (docs/plan.md, role copy) to out. 0, or -1 with why filled.
int read_image(int fd, uint64_t offset, uint64_t size, const struct buffer *facts, struct buffer *out, struct fault *why);
