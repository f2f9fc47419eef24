// SPDX-License-Identifier: Apache-2.0
// Obeying a plan: one operation after the other, in the process that becomes the command. Nothing here decides anything.
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "entries.h"
#include "exec.h"
#include "hook.h"
#include "plain.h"
#include "run.h"
#include "seccomp_filter.h"
#include "supervise.h"
#include "userns.h"
#include "userns_ranges.h"
#include "wire.h"

static void collect_entry(struct run *run, const struct plan_op *op)
{
	run->entry[run->entry_count++] = (struct serve_entry){
		.kind = (uint32_t)op->field[0].number, .path = op->field[1].data, .mode = (uint32_t)op->field[2].number,
		.data = op->field[3].data, .size = op->field[3].size,
	};
}

static bool is_last_unshare(const struct run *run, size_t index)
{
	for (size_t i = index + 1; i < run->plan->count; i++) {
		if (run->plan->op[i].code == OP_UNSHARE || run->plan->op[i].code == OP_USERNS || run->plan->op[i].code == OP_USERNS_RANGES)
			return false;
	}
	return true;
}

int run_mount(struct run *run, struct mount_request *request, struct fault *why)
{
	int status = mount_obey(request, run->rootfs.fd, why);

	close_fd(&request->source_fd);
	if (status < 0 && request->options & MOUNT_NOFAIL) {
		if (!(request->options & MOUNT_SILENT))
			fault_print(why);
		return 0;
	}
	return status;
}

static int set_cwd(struct run *run, const struct plan_op *op, struct fault *why)
{
	const char *path = op->field[0].data;
	uint64_t flags = op->field[1].number;
	OWN_FD fd = -1;

	if (flags & CWD_CREATE)
		fd = path_create(run->rootfs.fd, path, PATH_MAKE_DIR, 0755);
	else
		fd = path_resolve(run->rootfs.fd, path, PATH_DIRECTORY);
	if (fd >= 0 && fchdir(fd) == 0) {
		close_fd(&run->cwd);
		run->cwd = fd;
		fd = -1;
		return 0;
	}
	if (flags & CWD_OPTIONAL)
		return 0;
	return fault(why, errno, "enter the working directory %s", path);
}

static int pivot(struct run *run, struct fault *why)
{
	if (run->rootfs.staging >= 0)
		hook_forget(&run->rootfs, NULL);
	if (rootfs_pivot(&run->rootfs, why) < 0)
		return -1;
	if (run->cwd >= 0 && fchdir(run->cwd) < 0)
		return fault(why, errno, "enter the working directory");
	return 0;
}

// None is left, and none can be gained by executing anything (capabilities(7)).
static int drop_capabilities(struct fault *why)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

	memset(none, 0, sizeof none);
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
			return fault(why, errno, "drop capability %d", cap);
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none) < 0)
		return fault(why, errno, "drop the capabilities");
	return 0;
}

static int print_bytes(int fd, const struct plan_field *text)
{
	return text->size ? write_exactly(fd, text->data, text->size) : 0;
}

static void print_warning(const struct plan_field *text)
{
	print_bytes(STDERR_FILENO, text);
	if (text->size && text->data[text->size - 1] != '\n' && write(STDERR_FILENO, "\n", 1) < 0) {
		// nobody listens
	}
}

// What starting the command changed in the process, as it was.
void run_restore(const struct run *run)
{
	if (run->end)
		run->end->finish(run->end->arg);
	umask(run->umask);
	if (!supervise_lives(run->line))
		_exit(128 + SIGKILL);
	if (run->parent_death_signal == 0)
		return;
	prctl(PR_SET_PDEATHSIG, run->parent_death_signal, 0, 0, 0);
	if (getppid() != run->parent)
		raise(run->parent_death_signal);   // it died while the setting was away
}

_Noreturn static void become_command(struct run *run, const struct plan_op *op)
{
	struct fault why;
	int status;

	run_restore(run);
	status = exec_command(op->field[0].list, run->env, op->field[1].data, &why);
	fault_die(&why, status);
}

static int require_root(const struct run *run, const struct plan_op *op, struct fault *why)
{
	return run->rootfs.fd < 0 ? fault(why, 0, "obey the launch plan: %s comes before root", op->name) : 0;
}

// One operation. 0: go on; -1: why.
static int obey(struct run *run, size_t index, struct fault *why)
{
	const struct plan_op *op = &run->plan->op[index];
	const struct plan_field *field = op->field;
	struct userns_map map;
	struct userns_ranges ranges;

	switch (op->code) {
	case OP_ENTRY:
		collect_entry(run, op);
		return 0;
	case OP_SHARE:
		run->sharing = op;
		return 0;
	case OP_SERVE:
		return run_serve(run, op, why);
	case OP_EXTRACT:
		return run_extract(run, op, why);
	case OP_LAYER:
		return run_layer(run, op, why);
	case OP_USERNS:
		map = (struct userns_map){
			.inside_uid = (uid_t)field[0].number, .inside_gid = (gid_t)field[1].number,
			.outside_uid = (uid_t)field[2].number, .outside_gid = (gid_t)field[3].number,
		};
		return userns_enter(&map, why);
	case OP_UNSHARE:
		if (namespaces_unshare((unsigned)field[0].number, why) < 0)
			return -1;
		return is_last_unshare(run, index) ? run_open_sources(run, why) : 0;
	case OP_ROOT:
		return run_mount_root(run, op, why);
	case OP_OVERLAY:
		return require_root(run, op, why) < 0 ? -1 : run_overlay(run, why);
	case OP_MOUNT:
		return require_root(run, op, why) < 0 ? -1 : run_mount(run, &run->mounts[index], why);
	case OP_MKDIR:
		return require_root(run, op, why) < 0 ? -1 : entry_mkdir(run->rootfs.fd, field[0].data, (mode_t)field[1].number, why);
	case OP_FILE:
		return require_root(run, op, why) < 0 ? -1
			: entry_file(run->rootfs.fd, field[0].data, (mode_t)field[1].number, field[2].data, field[2].size, why);
	case OP_SYMLINK:
		return require_root(run, op, why) < 0 ? -1 : entry_symlink(run->rootfs.fd, field[0].data, field[1].data, why);
	case OP_INJECT:
		return require_root(run, op, why) < 0 ? -1
			: entry_inject(&run->rootfs, field[0].data, (mode_t)field[1].number, field[2].data, field[2].size, why);
	case OP_READONLY:
		return require_root(run, op, why) < 0 ? -1 : rootfs_protect(&run->rootfs, why);
	case OP_PIVOT:
		return require_root(run, op, why) < 0 ? -1 : pivot(run, why);
	case OP_HOSTNAME:
		return sethostname(field[0].data, field[0].size) < 0 ? fault(why, errno, "set the hostname to %s", field[0].data) : 0;
	case OP_CWD:
		return require_root(run, op, why) < 0 ? -1 : set_cwd(run, op, why);
	case OP_NO_NEW_PRIVS:
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fault(why, errno, "give up gaining privileges") : 0;
	case OP_DROP_CAPS:
		return drop_capabilities(why);
	case OP_TREE:
		return run_tree(run, op, why);
	case OP_CHROOT:
		return require_root(run, op, why) < 0 ? -1 : run_chroot(run, why);
	case OP_COPY:
		return require_root(run, op, why) < 0 ? -1 : plain_copy(run->rootfs.fd, field[0].data, field[1].data, (mode_t)field[2].number, why);
	case OP_NODE:
		return require_root(run, op, why) < 0 ? -1 : plain_node(run->rootfs.fd, field[0].data, why);
	case OP_PROOT:
		return require_root(run, op, why) < 0 ? -1 : run_proot(run, op, why);
	case OP_ENV:
		run->env = field[0].list;
		return 0;
	case OP_EXEC:
		become_command(run, op);
	case OP_EXIT:
		return 0;
	case OP_WARN:
		print_warning(&field[0]);
		return 0;
	case OP_STAGE:
		return require_root(run, op, why) < 0 ? -1
			: entry_file(run->rootfs.staging, field[0].data, (mode_t)field[1].number, field[2].data, field[2].size, why);
	case OP_HOOK:
		return require_root(run, op, why) < 0 ? -1 : run_hook(run, op, why);
	case OP_RESUME:
		return 0;
	case OP_SECCOMP:
		return seccomp_install((unsigned)field[0].number, why);
	case OP_USERNS_RANGES:
		ranges = (struct userns_ranges){
			.uid_map = field[0].list, .gid_map = field[1].list, .newuidmap = field[2].data, .newgidmap = field[3].data,
		};
		return userns_enter_ranges(&ranges, why);
	case OP_SUPERVISE:
		return run_supervised(run, op, why);
	case OP_INIT:
		return run_below_init(run, why);
	}
	return fault(why, 0, "obey the launch plan: unknown operation %s", op->name);
}

// What killed runs left is gone at the next start, whatever that start does.
static void sweep(void)
{
	struct dirs *dirs = calloc(1, sizeof *dirs);

	if (!dirs)
		return;
	dirs_candidates(dirs);
	extraction_sweep(dirs);
	free(dirs);
}

// The end of a plan that starts nothing.
static int finish(struct run *run, int status)
{
	run_restore(run);
	free(run->entry);
	free(run->mounts);
	free(run->extraction.path);
	free(run->layer.path);
	plan_free(&run->rest);
	return status;
}

int plan_run(const struct plan *plan, int exe_fd, const struct plan_end *end)
{
	static char *no_env[] = {NULL};
	struct fault why = {.error = 0};
	struct run run = {
		.plan = plan, .end = end, .exe = exe_fd, .ready = end ? end->server : -1, .server = -1, .share = SHARE_NONE, .extraction = EXTRACTION_NONE,
		.layer = LAYER_NONE, .rootfs = ROOTFS_NONE, .upper = -1, .work = -1, .directory = -1, .image = -1, .cwd = -1, .line = -1,
		.mount_requests = -1, .mount_replies = -1, .env = no_env,
	};

	if (!run_has_op(&run, OP_SERVE))
		close_fd(&run.ready);
	run.entry = calloc(plan->count + 1, sizeof *run.entry);
	run.mounts = calloc(plan->count + 1, sizeof *run.mounts);
	if (!run.entry || !run.mounts)
		die(ENOMEM, "obey the launch plan");
	sweep();
	run.parent = getppid();
	prctl(PR_GET_PDEATHSIG, &run.parent_death_signal, 0, 0, 0);
	run.umask = umask(0);
	for (size_t i = 0; i < run.plan->count; i++) {
		const struct plan_op *op = &run.plan->op[i];
		if (obey(&run, i, &why) < 0)
			fault_die(&why, EXIT_OWN_FAILURE);
		if (op->code == OP_EXIT) {
			print_bytes(STDOUT_FILENO, &op->field[1]);
			print_bytes(STDERR_FILENO, &op->field[2]);
			return finish(&run, (int)op->field[0].number);
		}
		if (op->code == OP_RESUME) {
			int status = 0, end_of_plan = run_resume(&run, op, &status, &why);
			if (end_of_plan < 0)
				fault_die(&why, EXIT_OWN_FAILURE);
			if (end_of_plan)
				return finish(&run, status);
			i = (size_t)-1;
		}
	}
	die(0, "obey the launch plan: it has neither exec nor exit");
}
