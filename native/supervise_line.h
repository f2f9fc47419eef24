// SPDX-License-Identifier: Apache-2.0
// What supervisor and init say to each other: messages of fixed size on a SOCK_SEQPACKET pair.
#pragma once
#include <signal.h>

enum line_kind {
	LINE_READY = 1,     // init: from now on signals go through me
	LINE_SIGNAL = 2,    // supervisor: I was sent this signal
	LINE_STOPPED = 3,   // init: the command was stopped by this signal
	LINE_ENDED = 4,     // init: the command's wait status
};

struct line_message { int kind, value, as; };   // as: the signal to deliver in place of LINE_SIGNAL's value

void line_send(int line, enum line_kind kind, int value, int as);
// 1: a message; 0: none now; -1: the other side is gone.
int line_receive(int line, struct line_message *message);

// Blocks every signal and makes children's ends visible whatever the caller set for SIGCHLD; signals_restore undoes it.
struct signals_before { sigset_t mask; struct sigaction child; };
void signals_hold(struct signals_before *before);
void signals_restore(const struct signals_before *before);
