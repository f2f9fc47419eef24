// SPDX-License-Identifier: Apache-2.0
// Closing what was inherited.
#pragma once
#include <stddef.h>

// Closes every descriptor from `lowest` on, except the `count` kept ones (negative ones are passed over).
void close_descriptors(unsigned lowest, const int *keep, size_t count);
