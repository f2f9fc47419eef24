// SPDX-License-Identifier: Apache-2.0
// The state of a plan that is being obeyed, and the part of the story that brings the root filesystem.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "extraction.h"
#include "fault.h"
#include "layer.h"
#include "mounts.h"
#include "plan.h"
#include "rootfs.h"
#include "serve.h"
#include "share.h"

struct run {
	const struct plan *plan;
	const struct plan_end *end;         // NULL: nothing to finish
	int exe;
	mode_t umask;                       // the user's; ours is 0 while we create
	int parent_death_signal;            // the user's (PR_SET_PDEATHSIG); a new user namespace clears it
	pid_t parent;
	struct serve_entry *entry;
	size_t entry_count;
	int ready;                          // socket of a file server made in advance; -1: none, or it is in use
	int server;                         // socket of the file server
	bool server_owners;                 // it shows the image's owners
	const struct plan_op *sharing;      // the operation `share`; NULL: the server is ours alone
	struct share share;
	struct extraction extraction;
	struct extraction_request unpack;   // for memory: done when the root is mounted
	bool in_memory;
	const char *tree;                   // of a root that is not mounted: its path, NULL for the extraction's
	struct layer layer;                 // a writable layer on disk
	struct rootfs rootfs;
	struct mount_request *mounts;       // one an operation, sources open
	int upper, work, directory, image;  // other things of the host that are opened early; -1: none
	uint64_t image_size;
	int cwd;
	int line;                           // to the supervisor; -1: none
	char **env;
	int mount_requests, mount_replies;  // pipes by which hooks ask for mounts; -1: not made yet
	struct plan rest;                   // what followed a `resume`
};

bool run_has_op(const struct run *run, enum plan_code code);

// All return 0, or -1 with why. run_serve, run_extract and run_layer come before the namespaces.
int run_serve(struct run *run, const struct plan_op *op, struct fault *why);
// run_share: meets the others, with what makes two mounts equal: entries, the operations `share`, `serve` and `userns`, and the file of the image.
enum share_role run_share(struct run *run, const struct plan_op *serve, int file);
int run_extract(struct run *run, const struct plan_op *op, struct fault *why);
int run_layer(struct run *run, const struct plan_op *op, struct fault *why);
// Opens everything of the host that later operations name, in the namespace they run in and before anything is covered.
int run_open_sources(struct run *run, struct fault *why);
int run_mount_root(struct run *run, const struct plan_op *op, struct fault *why);
int run_overlay(struct run *run, struct fault *why);
// One mount, whose source is open; one that may fail is told and passed over.
int run_mount(struct run *run, struct mount_request *request, struct fault *why);
// Runs a hook, and mounts meanwhile what it asks for (docs/plan.md, Hooks).
int run_hook(struct run *run, const struct plan_op *op, struct fault *why);
// Adds a staged file as the fact file.PATH; nothing where there is none.
int run_tell_file(const struct rootfs *rootfs, const char *path, struct buffer *facts, struct fault *why);
// Goes on with the rest of the plan, which becomes run->plan. 1: there is no rest, but an exit status.
// Forks; both return in the child that goes on with the plan (supervise.h).
int run_supervised(struct run *run, const struct plan_op *op, struct fault *why);
int run_below_init(struct run *run, struct fault *why);
int run_resume(struct run *run, const struct plan_op *op, int *status, struct fault *why);
// The rungs without mounts (run_plain.c).
int run_tree(struct run *run, const struct plan_op *op, struct fault *why);
int run_chroot(struct run *run, struct fault *why);
int run_proot(struct run *run, const struct plan_op *op, struct fault *why);

// Gives the process back what starting the command changed in it: the last thing before the command.
void run_restore(const struct run *run);
