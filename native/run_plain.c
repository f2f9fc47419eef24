// SPDX-License-Identifier: Apache-2.0
// The rungs of the sandbox ladder on which nothing can be mounted: a plain directory is the root, by chroot(2) or by proot.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "proot.h"
#include "run.h"
#include "watch.h"

int run_tree(struct run *run, const struct plan_op *op, struct fault *why)
{
	const char *path = op->field[0].data;

	if (path[0])
		run->rootfs.fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	else if (run->extraction.path)
		return (run->rootfs.fd = extraction_open(&run->extraction, why)) < 0 ? -1 : 0;
	else
		return fault(why, 0, "find the root filesystem: the plan names no directory");
	run->tree = path;
	return run->rootfs.fd < 0 ? fault(why, errno, "open the directory %s", path) : 0;
}

int run_chroot(struct run *run, struct fault *why)
{
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
		.hold = run->extraction.control, .finish = restore, .finish_arg = run,
	};

	if (fchdir(run->rootfs.fd) < 0)
		return fault(why, errno, "enter the root filesystem");
	return proot_run(&request, why);
}
