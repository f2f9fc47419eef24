// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdint.h>
#include "fault.h"

// The end in bytes of the 64-bit little-endian ELF at the start of fd, as docs/format.md defines it; headers are read from the file, and one that lies
// beyond file_size is a truncated file. 0 or -1; name is for messages.
int elf_end(int fd, const char *name, uint64_t file_size, uint64_t *end, struct fault *why);
