// SPDX-License-Identifier: Apache-2.0
#include "sha256.h"

#include <string.h>

#if defined(__x86_64__) && !defined(SHA256_SCALAR)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t round_constant[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t word, unsigned bits) {
	return word >> bits | word << (32 - bits);
}

static uint32_t read_big(const uint8_t *bytes) {
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

// FIPS 180-4, 6.2.2.
static void hash_blocks_scalar(uint32_t state[8], const uint8_t *data, size_t blocks) {
	for (; blocks; blocks--, data += 64) {
		uint32_t w[64], v[8];
		for (int t = 0; t < 16; t++)
			w[t] = read_big(data + 4 * t);
		for (int t = 16; t < 64; t++) {
			uint32_t a = w[t - 15], b = w[t - 2];
			w[t] = w[t - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[t - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
		}
		memcpy(v, state, sizeof v);
		for (int t = 0; t < 64; t++) {
			uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
			uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
			uint32_t t1 = v[7] + s1 + choice + round_constant[t] + w[t];
			uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
			uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
			memmove(v + 1, v, 7 * sizeof *v);
			v[4] += t1;
			v[0] = t1 + s0 + majority;
		}
		for (int i = 0; i < 8; i++)
			state[i] += v[i];
	}
}

#if defined(__x86_64__) && !defined(SHA256_SCALAR)
// Intel SHA extensions: sha256rnds2 does two rounds on the state split as ABEF and CDGH; msg1 and msg2 extend the message four words at a time
// (Intel SDM, volume 2).
__attribute__((target("sha,sse4.1")))
static void hash_blocks_sha_ni(uint32_t state[8], const uint8_t *data, size_t blocks) {
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i dcba = _mm_loadu_si128((const __m128i *)state), hgfe = _mm_loadu_si128((const __m128i *)(state + 4));
	__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
	__m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
	for (; blocks; blocks--, data += 64) {
		__m128i abef_before = abef, cdgh_before = cdgh, m[4];
		for (int i = 0; i < 4; i++)
			m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			__m128i now = m[i & 3];
			__m128i sum = _mm_add_epi32(now, _mm_load_si128((const __m128i *)(round_constant + 4 * i)));
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
			if (i < 12) {
				// Words 4(i+4) to 4(i+4)+3 take the place of the ones just used.
				__m128i older = _mm_sha256msg1_epu32(now, m[(i + 1) & 3]);
				__m128i seventh = _mm_alignr_epi8(m[(i + 3) & 3], m[(i + 2) & 3], 4);
				m[i & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(older, seventh), m[(i + 3) & 3]);
			}
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}
	__m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static int cpu_has_sha(void) {
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
		return 0;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}
#endif

static void hash_blocks(uint32_t state[8], const uint8_t *data, size_t blocks) {
#if defined(__x86_64__) && !defined(SHA256_SCALAR)
	static int known;   // 0: not asked yet; 1: no; 2: yes. Threads may ask twice; the answer is the same.
	int have = __atomic_load_n(&known, __ATOMIC_RELAXED);
	if (!have) {
		have = 1 + cpu_has_sha();
		__atomic_store_n(&known, have, __ATOMIC_RELAXED);
	}
	if (have == 2) {
		hash_blocks_sha_ni(state, data, blocks);
		return;
	}
#endif
	hash_blocks_scalar(state, data, blocks);
}

void sha256_init(struct sha256 *hash) {
	static const uint32_t start[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};
	memcpy(hash->state, start, sizeof start);
	hash->size = 0;
}

void sha256_update(struct sha256 *hash, const void *data, size_t size) {
	const uint8_t *from = data;
	size_t held = (size_t)(hash->size % 64);
	if (!size)
		return;
	hash->size += size;
	if (held) {
		size_t part = 64 - held < size ? 64 - held : size;
		memcpy(hash->block + held, from, part);
		from += part;
		size -= part;
		if (held + part < 64)
			return;
		hash_blocks(hash->state, hash->block, 1);
	}
	hash_blocks(hash->state, from, size / 64);
	memcpy(hash->block, from + (size & ~(size_t)63), size % 64);
}

void sha256_final(struct sha256 *hash, uint8_t digest[32]) {
	uint64_t bits = hash->size * 8;
	uint8_t tail[72] = { 0x80 };
	size_t padding = (hash->size % 64 < 56 ? 56 : 120) - (size_t)(hash->size % 64);
	for (int i = 0; i < 8; i++)
		tail[padding + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
	sha256_update(hash, tail, padding + 8);
	for (int i = 0; i < 8; i++)
		for (int j = 0; j < 4; j++)
			digest[4 * i + j] = (uint8_t)(hash->state[i] >> (24 - 8 * j));
}

void sha256_of(const void *data, size_t size, uint8_t digest[32]) {
	struct sha256 hash;
	sha256_init(&hash);
	sha256_update(&hash, data, size);
	sha256_final(&hash, digest);
}
