// SPDX-License-Identifier: Apache-2.0
// Seccomp filters that a plan can ask for. They hold for the command and everything it starts.
#pragma once
#include "fault.h"

// Installs the filter of that kind (FILTER_* of plan.h). It needs no_new_privs, or CAP_SYS_ADMIN in the user namespace (seccomp(2)). 0 or -1.
int seccomp_install(unsigned kind, struct fault *why);
