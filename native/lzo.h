// SPDX-License-Identifier: Apache-2.0
// Decoder of the LZO1X bit stream.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Decodes one complete stream. The number of bytes put into out, or -1 when the stream is damaged or does not fit. Never reads or writes outside
// the two buffers. The format: Documentation/staging/lzo.rst of the Linux kernel.
ssize_t lzo1x_decode(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size);
