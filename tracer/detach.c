// SPDX-License-Identifier: Apache-2.0
// native/detach.c with libc's fork: the name fork is taken here (attach.c).
#define fork _Fork
#include "../native/detach.c"
