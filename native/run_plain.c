// SPDX-License-Identifier: Apache-2.0
// The rungs of the sandbox ladder on which nothing can be mounted: a plain directory is the root, by chroot(2) or by proot.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "hook.h"
#include "proot.h"
#include "run.h"
#include "watch.h"

// Where hooks of the host find the root as `root` and their own files beside it: the nest that the image was unpacked in.
static int stage_in_nest(struct run *run, struct fault *why)
{
	const char *path = run->extraction.path, *end = path ? strstr(path, "/root") : NULL;

	if (!run_has_op(run, OP_HOOK))
		return 0;
	while (end && end[strlen("/root")])
		end = strstr(end + 1, "/root");
	run->rootfs.base = end ? strndup(path, (size_t)(end - path)) : NULL;
	if (!run->rootfs.base)
		return fault(why, 0, "run hooks of the host: the image was not unpacked into a directory of ours");
	run->rootfs.staging = open(run->rootfs.base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return run->rootfs.staging < 0 ? fault(why, errno, "open the directory %s", run->rootfs.base) : 0;
}

int run_tree(struct run *run, const struct plan_op *op, struct fault *why)
{
	const char *path = op->field[0].data;

	if (!path[0] && !run->extraction.path)
		return fault(why, 0, "find the root filesystem: the plan names no directory");
	if (!path[0]) {
		run->rootfs.fd = extraction_open(&run->extraction, why);
		return run->rootfs.fd < 0 ? -1 : stage_in_nest(run, why);
	}
	run->tree = path;
	run->rootfs.fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return run->rootfs.fd < 0 ? fault(why, errno, "open the directory %s", path) : 0;
}

static void forget_hooks(const struct run *run, char *const *binds)
{
	if (run->rootfs.staging >= 0)
		hook_forget(&run->rootfs, binds);
}

int run_chroot(struct run *run, struct fault *why)
{
	forget_hooks(run, NULL);
	if (fchdir(run->rootfs.fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return fault(why, errno, "enter the root filesystem with chroot");
	// only now: the janitor looks for processes with this root
	return run->extraction.control < 0 ? 0 : watch_hand_over_root(&run->extraction.control, run->rootfs.fd, why);
}

static void restore(void *run)
{
	run_restore(run);
}

int run_proot(struct run *run, const struct plan_op *op, struct fault *why)
{
	const struct plan_field *field = op->field;
	const struct proot_request request = {
		.runtime = field[0].data, .path = run->tree ? run->tree : run->extraction.path, .root = run->rootfs.fd, .options = field[1].list,
		.binds = field[2].list, .argv = field[3].list, .env = run->env, .search = field[4].data, .cwd = field[5].data,
		.create_cwd = field[6].number & CWD_CREATE, .optional_cwd = field[6].number & CWD_OPTIONAL,
		.hold = {run->extraction.control, run->extraction.lock}, .finish = restore, .finish_arg = run,
	};

	forget_hooks(run, field[2].list);
	if (fchdir(run->rootfs.fd) < 0)
		return fault(why, errno, "enter the root filesystem");
	return proot_run(&request, why);
}
