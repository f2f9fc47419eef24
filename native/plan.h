// SPDX-License-Identifier: Apache-2.0
// The launch plan: the C mirror of src/format/plan.ts (a test compares the two tables). docs/plan.md tells the wire.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fault.h"

#define PLAN_VERSION 1
#define PLAN_MAX_FIELDS 8

// X(enumerator, code, name, fields): one letter a field: w u32, q u64, s str, b bytes, v strs
#define PLAN_OPS(X) \
	X(OP_ENTRY, 1, "entry", "wswb") \
	X(OP_SERVE, 2, "serve", "sqqwwwqw") \
	X(OP_EXTRACT, 3, "extract", "sqqsssw") \
	X(OP_USERNS, 4, "userns", "wwww") \
	X(OP_UNSHARE, 5, "unshare", "w") \
	X(OP_ROOT, 6, "root", "wsqqw") \
	X(OP_OVERLAY, 7, "overlay", "ssq") \
	X(OP_MOUNT, 8, "mount", "sssqqsw") \
	X(OP_MKDIR, 9, "mkdir", "sw") \
	X(OP_FILE, 10, "file", "swb") \
	X(OP_SYMLINK, 11, "symlink", "ss") \
	X(OP_INJECT, 12, "inject", "swb") \
	X(OP_READONLY, 13, "readonly", "") \
	X(OP_PIVOT, 14, "pivot", "") \
	X(OP_HOSTNAME, 15, "hostname", "s") \
	X(OP_CWD, 16, "cwd", "sw") \
	X(OP_NO_NEW_PRIVS, 17, "noNewPrivs", "") \
	X(OP_DROP_CAPS, 18, "dropCaps", "") \
	X(OP_ENV, 19, "env", "v") \
	X(OP_EXEC, 20, "exec", "vs") \
	X(OP_EXIT, 21, "exit", "wbb") \
	X(OP_WARN, 22, "warn", "b") \
	X(OP_STAGE, 30, "stage", "swb") \
	X(OP_HOOK, 31, "hook", "svvvss") \
	X(OP_RESUME, 32, "resume", "v") \
	X(OP_SECCOMP, 35, "seccomp", "w") \
	X(OP_USERNS_RANGES, 36, "usernsRanges", "vvss") \
	X(OP_SUPERVISE, 37, "supervise", "ww") \
	X(OP_INIT, 38, "init", "") \
	X(OP_TREE, 45, "tree", "s") \
	X(OP_CHROOT, 46, "chroot", "") \
	X(OP_COPY, 47, "copy", "ssw") \
	X(OP_NODE, 48, "node", "s") \
	X(OP_PROOT, 49, "proot", "svvvssw") \
	X(OP_SHARE, 50, "share", "ss") \
	X(OP_LAYER, 55, "layer", "ssss")

enum plan_code {
#define X(id, code, name, fields) id = code,
	PLAN_OPS(X)
#undef X
};

enum { ENTRY_DIR = 1, ENTRY_FILE = 2, ENTRY_SYMLINK = 3, ENTRY_MOUNTPOINT = 4 };
enum { UNSHARE_MOUNT = 1, UNSHARE_PID = 2, UNSHARE_NET = 4, UNSHARE_IPC = 8, UNSHARE_UTS = 16, UNSHARE_CGROUP = 32 };
enum { SERVE_OWNERS = 1 };
enum { ROOT_FUSE = 1, ROOT_DIRECTORY = 2, ROOT_LOOP = 3 };
enum { ROOT_READONLY = 1 };
enum { EXTRACT_KEEP = 1, EXTRACT_REUSE = 2, EXTRACT_QUIET = 4 };
enum {
	MOUNT_CREATE_DIR = 1, MOUNT_CREATE_FILE = 2, MOUNT_CREATE_AUTO = 4, MOUNT_NOFAIL = 8,
	MOUNT_SILENT = 16, MOUNT_MOVE = 32, MOUNT_DETACH = 64, MOUNT_INSIDE = 128,
};
enum { FILTER_FAKE_ROOT = 1 };
enum { SUPERVISE_INIT = 1 };
enum { CWD_CREATE = 1, CWD_OPTIONAL = 2 };

// A field's value, pointing into the reply's buffer, which must outlive the plan. str: NUL-terminated, size without the NUL.
struct plan_field {
	uint64_t number;
	const char *data;
	size_t size;
	char **list;   // strs: count pointers and a final NULL
	size_t count;
};

struct plan_op {
	enum plan_code code;
	const char *name;
	struct plan_field field[PLAN_MAX_FIELDS];
};

struct plan {
	struct plan_op *op;
	size_t count;
};

// Decodes the body of a `plan` reply (after its kind byte). 0, or -1 with why filled: unknown version or code, wrong length, NUL in a str.
int plan_decode(struct plan *plan, const void *data, size_t size, struct fault *why);
void plan_free(struct plan *plan);

// Does it end with `resume`? Then the planner is needed once more.
bool plan_resumes(const struct plan *plan);

struct buffer;

// Who gave the plan. finish: what is to be done in the last moment before the process becomes the command, because it could not be waited for earlier
// without losing time. resume: sends these facts and gets the rest of the plan, which stays valid; 1: there is none but an exit status, in *status,
// and what there was to print is printed; -1: why. consult: asks in between and gets a plan that points into *reply; 1: it was refused, and told.
// disown: a child has forked off that goes on with the plan, and it is called there; may be NULL. server: of a file server made in advance
// (serve_prepare) for the running executable's section at image_offset of image_size bytes, which plan_run closes; -1: none.
struct plan_end {
	void (*finish)(void *arg);
	int (*resume)(void *arg, struct buffer *facts, struct plan *rest, int *status, struct fault *why);
	int (*consult)(void *arg, struct buffer *facts, struct plan *plan, struct buffer *reply, struct fault *why);
	void (*disown)(void *arg);
	void *arg;
	int server;
	uint64_t image_offset, image_size;
};

// Obeys a plan. exe_fd: an open descriptor of the running executable (CLOEXEC); end: may be NULL.
// Returns only for `exit` (its status); otherwise the process has become the command, or died with 125, 126 or 127 after a message.
int plan_run(const struct plan *plan, int exe_fd, const struct plan_end *end);
