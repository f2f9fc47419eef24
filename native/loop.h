// SPDX-License-Identifier: Apache-2.0
// Loop devices, for real root: the kernel's own squashfs over a part of a file.
#pragma once
#include <stdint.h>
#include "fault.h"

// Attaches `size` bytes at `offset` of file, read-only and autoclear: the device is free again when its last user is gone.
// Returns an open descriptor of it and puts its path into device; -1 with why.
int loop_attach(int file, uint64_t offset, uint64_t size, char device[32], struct fault *why);
