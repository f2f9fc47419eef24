// SPDX-License-Identifier: Apache-2.0
// The file that is run: its section table and manifest, found and verified (docs/format.md).
#pragma once
#include <stdint.h>
#include "fault.h"
#include "wire.h"

#define BUNDLE_MAX_SECTIONS 32

struct section {
	char name[17];
	uint64_t offset, size, raw_size;
	uint8_t sha256[32];
};

struct bundle {
	int file;                // open for reading, close-on-exec
	char path[4096];         // absolute
	uint64_t size;
	size_t count;
	struct section section[BUNDLE_MAX_SECTIONS];
	struct buffer manifest;
};

// Opens our own executable (/proc/self/exe, else AT_EXECFN) or the file at path. 0 or -1.
int bundle_open_self(struct bundle *bundle, struct fault *why);
int bundle_open_path(struct bundle *bundle, const char *path, struct fault *why);
// Reads and verifies the table, the padding and the manifest: truncated, appended to or damaged files are refused. 0 or -1.
int bundle_read(struct bundle *bundle, struct fault *why);
// NULL when there is none of that name.
const struct section *bundle_section(const struct bundle *bundle, const char *name);
// "NAME OFFSET SIZE RAW-SIZE SHA256HEX", as the wire tells a section (docs/plan.md). Returns text.
enum { SECTION_TEXT = 160 };
const char *describe_section(const struct section *section, char text[SECTION_TEXT]);
// Compares a section's bytes with its SHA-256. 0 or -1.
int bundle_verify_section(const struct bundle *bundle, const struct section *section, struct fault *why);
