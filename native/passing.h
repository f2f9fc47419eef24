// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors over a SOCK_SEQPACKET socket (unix(7), SCM_RIGHTS).
#pragma once
#include <stddef.h>
#include <sys/types.h>

#define PASS_MAX 4   // most descriptors in a message

// Sends size bytes (at least one) and count descriptors, which stay the caller's. 0, or -1 with errno; never SIGPIPE.
int pass_send(int socket, const void *data, size_t size, const int *fd, unsigned count);

// Receives one message: its bytes into data, its descriptors (close-on-exec) into fd, where missing ones are -1 and surplus ones are closed.
// The number of bytes, 0 at the end, or -1 with errno.
ssize_t pass_receive(int socket, void *data, size_t size, int *fd, unsigned count);
