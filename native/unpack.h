// SPDX-License-Identifier: Apache-2.0
// Unpacking the image of a plan into an open directory, with its space checked first.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fault.h"

struct unpack_request {
	int file;                 // open file that holds the image
	uint64_t offset, size;
	bool keep_owners;
	const char *place;        // for messages: where it goes
	void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);   // may be NULL
	void *arg;
};

// 0 or -1; what was made so far stays, for the caller to remove.
int unpack_into(int dir, const struct unpack_request *request, struct fault *why);

// Draws one line on stderr; a finished one is wiped. Only for terminals.
void progress_draw(uint64_t bytes_done, uint64_t bytes_total);
void progress_wipe(void);
