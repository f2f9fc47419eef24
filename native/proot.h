// SPDX-License-Identifier: Apache-2.0
// Running the command below proot (DESIGN 7.4): system calls are rewritten instead of namespaces made.
#pragma once
#include <stdbool.h>
#include "fault.h"

struct proot_request {
	const char *runtime;     // directory with ld.so, lib/ and proot/
	const char *path;        // of the root filesystem, in the host's view
	int root;                // the same, open
	char *const *options;    // more arguments for proot
	char **binds;            // "HOST:PLACE" each; the host's path has no colon
	char *const *argv, *const *env;
	const char *search;
	const char *cwd;         // "": none
	bool create_cwd, optional_cwd;
	int hold[2];             // kept open by the tracing process until the last traced one is gone; -1: nothing
	void (*finish)(void *arg);   // restores the process, in the last moment
	void *finish_arg;
};

// Becomes the command, traced by a detached process. Returns -1 only on failure.
int proot_run(const struct proot_request *request, struct fault *why);

// A seccomp filter that answers ENOSYS to system calls with paths that proot 5.1.0 does not know: programs then use older ones. Needs no_new_privs.
int proot_filter(struct fault *why);
