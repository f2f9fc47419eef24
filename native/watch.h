// SPDX-License-Identifier: Apache-2.0
// A background process that outlives the start of a container: what it and the process that becomes the command tell each other, and how it learns
// that the last process of the container is gone.
#pragma once
#include <stdint.h>
#include "fault.h"
#include "nest.h"

// Messages on their socket (SOCK_SEQPACKET), one struct each. DONE: what was asked for is there; why.text is the nest's name, empty without one.
// START: done is the mount namespace's inode number, and a descriptor of inotify may come along. START_ROOT: done and total are inode and device of the
// directory that is the root of the container's processes. Both are answered by DONE.
enum { WATCH_PROGRESS = 1, WATCH_DONE, WATCH_FAILED, WATCH_START, WATCH_START_ROOT };
struct watch_note { uint32_t kind; uint64_t done, total; struct fault why; };

// Sends a note; why may be NULL. Progress is dropped when nobody listens.
void watch_say(int control, uint32_t kind, uint64_t done, uint64_t total, const struct fault *why);

// In the process that becomes the command, in its mount namespace: tells the other one to stay until that namespace is gone, and closes *control.
// staging: a directory on a tmpfs that will be mounted in it until its end, or -1. 1: staging is watched and must stay mounted; 0: the other
// process looks through /proc instead; -1 with why.
int watch_hand_over(int *control, int staging, struct fault *why);

// The same for a container without a mount namespace of its own. root: its root directory. 0 or -1.
int watch_hand_over_root(int *control, int root, struct fault *why);

struct watch { int inotify; struct nest_user user; };

// In the other process: waits for the START note. 1: it came, and watch_acknowledge answers it; 0: whoever should have sent it is gone.
int watch_receive(int control, struct watch *watch);
void watch_acknowledge(int *control);

// Waits until the last process of the container is gone. process: pidfd of the process that becomes the command, or -1.
void watch_await_end(struct watch *watch, int process);
