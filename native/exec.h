// SPDX-License-Identifier: Apache-2.0
// Becoming the command.
#pragma once
#include "fault.h"

// Replaces the process by argv[0], looked up in search (a PATH) when it has no slash, as execvp(3) does; a file without a known format is run by
// /bin/sh. Returns only on failure: the exit status (126 found but not executable, 127 not found), with why filled.
int exec_command(char *const argv[], char *const env[], const char *search, struct fault *why);
