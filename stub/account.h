// SPDX-License-Identifier: Apache-2.0
// Who the user is, asked of the host's databases (LDAP, sssd) while Node starts, where its files do not know him: the planner is going to ask, and
// then need not wait. Nothing is asked for those whom the files know.
#pragma once
#include "run_program.h"

void account_start(void);

// Is it one of the programs that were started? 1: its answer is appended.
int account_answer(const struct program *program, struct buffer *answer);

// Ends those that nobody asked for.
void account_forget(void);
