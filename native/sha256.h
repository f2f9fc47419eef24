// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), with the CPU's SHA instructions where it has them.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct sha256 { uint32_t state[8]; uint64_t size; uint8_t block[64]; };

void sha256_init(struct sha256 *hash);
void sha256_update(struct sha256 *hash, const void *data, size_t size);
void sha256_final(struct sha256 *hash, uint8_t digest[32]);
void sha256_of(const void *data, size_t size, uint8_t digest[32]);
