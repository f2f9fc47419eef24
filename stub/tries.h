// SPDX-License-Identifier: Apache-2.0
// What is tried only when the planner asks for it (docs/plan.md, Replies).
#pragma once
#include <stdint.h>
#include "wire.h"

// One line for each candidate directory, down to the first one that can hold the upper layer of an overlay and has need_bytes:
// "PATH ok FREEBYTES FSTYPE" or "PATH STEP ERRNO".
void try_layers(uint64_t need_bytes, struct buffer *out);

// "ok", or "STEP ERRNO", for the execution of a program in an open directory. Nothing stays in it.
void try_exec(int dir, struct buffer *out);
