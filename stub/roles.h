// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdint.h>
#include "wire.h"

// The value of the first fact of that name, to be freed; NULL when there is none.
const char *role_fact(const struct buffer *facts, const char *key);
// The same as a decimal number. 0 or -1.
int role_number(const struct buffer *facts, const char *key, uint64_t *value);

// The roles; each returns the exit status.
int extract_role(const struct buffer *facts);
int copy_role(const struct buffer *facts);
int pack_role(const struct buffer *facts, int input);   // records follow the facts on `input`
int walk_role(const struct buffer *facts);
