// SPDX-License-Identifier: Apache-2.0
// Prints the SHA-256 of a file, fed in uneven parts. Usage: hash-file FILE
#include <stdio.h>

#include "sha256.h"

int main(int argc, char **argv) {
	static unsigned char data[100003];
	struct sha256 hash;
	uint8_t digest[32];
	size_t size, part = 1;
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
	if (!file)
		return 2;
	sha256_init(&hash);
	while ((size = fread(data, 1, part, file)) > 0) {
		sha256_update(&hash, data, size);
		part = (part * 7 + 3) % sizeof data + 1;
	}
	fclose(file);
	sha256_final(&hash, digest);
	for (int i = 0; i < 32; i++)
		printf("%02x", digest[i]);
	printf("\n");
	return 0;
}
