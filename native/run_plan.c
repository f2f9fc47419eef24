// SPDX-License-Identifier: Apache-2.0
// Obeying a plan: one operation after the other, in the process that becomes the command. Nothing here decides anything.
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "entries.h"
#include "exec.h"
#include "extraction.h"
#include "mounts.h"
#include "overlay.h"
#include "plan.h"
#include "rootfs.h"
#include "serve.h"
#include "userns.h"
#include "wire.h"

struct run {
	const struct plan *plan;
	int exe;
	mode_t umask;                       // the user's; ours is 0 while we create
	int parent_death_signal;            // the user's (PR_SET_PDEATHSIG); a new user namespace clears it
	pid_t parent;
	struct serve_entry *entry;
	size_t entry_count;
	int server;                         // socket of the file server
	struct extraction extraction;
	struct extraction_request unpack;   // for memory: done when the root is mounted
	bool in_memory;
	struct rootfs rootfs;
	struct mount_request *mounts;       // one an operation, sources open
	int upper, work, directory, image;  // other things of the host that are opened early; -1: none
	uint64_t image_size;
	int cwd;
	char **env;
};

static void collect_entry(struct run *run, const struct plan_op *op)
{
	run->entry[run->entry_count++] = (struct serve_entry){
		.kind = (uint32_t)op->field[0].number, .path = op->field[1].data, .mode = (uint32_t)op->field[2].number,
		.data = op->field[3].data, .size = op->field[3].size,
	};
}

// '' is the running executable. size 0: up to the end of the file.
static int open_image(const struct run *run, const char *path, uint64_t offset, uint64_t *size, struct fault *why)
{
	int fd = path[0] ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(run->exe, F_DUPFD_CLOEXEC, 3);
	struct stat facts;

	if (fd < 0)
		return fault(why, errno, "open %s", path[0] ? path : "the running executable");
	if (*size == 0 && fstat(fd, &facts) == 0 && (uint64_t)facts.st_size > offset)
		*size = (uint64_t)facts.st_size - offset;
	return fd;
}

static int start_server(struct run *run, const struct plan_op *op, struct fault *why)
{
	struct serve_config config = {
		.offset = op->field[1].number, .size = op->field[2].number, .uid = (uint32_t)op->field[3].number, .gid = (uint32_t)op->field[4].number,
		.threads = (unsigned)op->field[5].number, .cache_bytes = op->field[6].number, .entry = run->entry, .entry_count = run->entry_count,
	};
	OWN_FD file = open_image(run, op->field[0].data, config.offset, &config.size, why);

	if (file < 0)
		return -1;
	config.file = file;
	run->server = serve_start(&config, why);
	return run->server < 0 ? -1 : 0;
}

static bool has_op(const struct plan *plan, enum plan_code code)
{
	for (size_t i = 0; i < plan->count; i++) {
		if (plan->op[i].code == code)
			return true;
	}
	return false;
}

static int start_extraction(struct run *run, const struct plan_op *op, struct fault *why)
{
	uint64_t flags = op->field[6].number;
	struct extraction_request request = {
		.offset = op->field[1].number, .size = op->field[2].number, .place = op->field[3].data, .target = op->field[4].data,
		.digest = op->field[5].data, .keep = flags & EXTRACT_KEEP, .reuse = flags & EXTRACT_REUSE, .quiet = flags & EXTRACT_QUIET,
		// with one uid mapped the image's other owners would be nobody
		.keep_owners = geteuid() == 0 && !has_op(run->plan, OP_USERNS),
	};

	request.file = open_image(run, op->field[0].data, request.offset, &request.size, why);
	if (request.file < 0)
		return -1;
	if (!request.place[0] && !request.target[0]) {
		run->in_memory = true;
		run->unpack = request;
		return 0;
	}
	if (extraction_start(&run->extraction, &request, why) < 0)
		return -1;
	close_fd(&request.file);
	return 0;
}

// An overlay's directory, made when missing.
static int open_directory(const char *path, struct fault *why)
{
	int fd;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return fault(why, errno, "make the directory %s", path);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? fault(why, errno, "open the directory %s", path) : fd;
}

static int open_root_source(struct run *run, const struct plan_op *op, struct fault *why)
{
	const struct plan_field *field = op->field;

	if (field[0].number == ROOT_LOOP) {
		run->image_size = field[3].number;
		run->image = open_image(run, field[1].data, field[2].number, &run->image_size, why);
		return run->image < 0 ? -1 : 0;
	}
	if (field[0].number != ROOT_DIRECTORY || run->in_memory)
		return 0;
	if (field[1].size) {
		run->directory = open(field[1].data, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return run->directory < 0 ? fault(why, errno, "open the directory %s", field[1].data) : 0;
	}
	if (!run->extraction.path)
		return fault(why, 0, "mount the root filesystem: the plan names no directory");
	run->directory = extraction_open(&run->extraction, why);
	return run->directory < 0 ? -1 : 0;
}

static int open_overlay_sources(struct run *run, const struct plan_op *op, struct fault *why)
{
	if (op->field[0].size == 0)
		return 0;
	run->upper = open_directory(op->field[0].data, why);
	run->work = run->upper < 0 ? -1 : open_directory(op->field[1].data, why);
	return run->work < 0 ? -1 : 0;
}

// Everything of the host that later operations name, in the namespace they run in and before anything is covered.
static int open_sources(struct run *run, struct fault *why)
{
	if (has_op(run->plan, OP_ROOT) && rootfs_choose_base(&run->rootfs, why) < 0)
		return -1;
	for (size_t i = 0; i < run->plan->count; i++) {
		const struct plan_op *op = &run->plan->op[i];
		if (op->code == OP_MOUNT) {
			run->mounts[i] = mount_request_of(op);
			mount_open_source(&run->mounts[i]);
			if (run->mounts[i].source_fd >= 0 && rootfs_covers(&run->rootfs, run->mounts[i].source_fd))
				mount_clone_source(&run->mounts[i]);
		} else if (op->code == OP_OVERLAY && open_overlay_sources(run, op, why) < 0) {
			return -1;
		} else if (op->code == OP_ROOT && open_root_source(run, op, why) < 0) {
			return -1;
		}
	}
	return 0;
}

static bool is_last_unshare(const struct run *run, size_t index)
{
	for (size_t i = index + 1; i < run->plan->count; i++) {
		if (run->plan->op[i].code == OP_UNSHARE || run->plan->op[i].code == OP_USERNS)
			return false;
	}
	return true;
}

// A tmpfs of our own, where the plan needs one.
static int stage(struct run *run, struct fault *why)
{
	uint64_t size = 0;
	bool needed = run->in_memory || run->extraction.control >= 0 || has_op(run->plan, OP_INJECT);

	for (size_t i = 0; i < run->plan->count; i++) {
		if (run->plan->op[i].code == OP_OVERLAY && run->plan->op[i].field[0].size == 0) {
			needed = true;
			size = run->plan->op[i].field[2].number;
		}
	}
	if (!needed)
		return 0;
	if (rootfs_stage(&run->rootfs, size, why) < 0) {
		// only the janitor can do without
		if (run->in_memory || has_op(run->plan, OP_INJECT) || has_op(run->plan, OP_OVERLAY))
			return -1;
	}
	if (run->extraction.control >= 0) {
		int watched = extraction_hand_over(&run->extraction, run->rootfs.staging, why);
		if (watched < 0)
			return -1;
		run->rootfs.keep_staging = watched;
	}
	return 0;
}

static int unpack_in_memory(struct run *run, bool readonly, struct fault *why)
{
	OWN_FD tree = -1;

	if (mkdirat(run->rootfs.staging, "tree", 0755) < 0)
		return fault(why, errno, "make a directory in memory");
	tree = openat(run->rootfs.staging, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree < 0)
		return fault(why, errno, "open a directory in memory");
	if (extraction_into(tree, &run->unpack, why) < 0)
		return -1;
	close_fd(&run->unpack.file);
	return rootfs_bind(&run->rootfs, tree, readonly, why);
}

static int mount_served(struct run *run, bool readonly, struct fault *why)
{
	OWN_FD mountpoint = rootfs_mountpoint(&run->rootfs, why);
	char path[FD_PATH_SIZE];
	int server = run->server;

	if (mountpoint < 0)
		return -1;
	run->server = -1;
	if (serve_mount(server, fd_path(path, mountpoint), MS_NOSUID | MS_NODEV | (readonly ? MS_RDONLY : 0), why) < 0)
		return -1;
	return rootfs_refresh(&run->rootfs, why);
}

static int mount_root(struct run *run, const struct plan_op *op, struct fault *why)
{
	bool readonly = op->field[4].number & ROOT_READONLY;
	int status;

	if (stage(run, why) < 0)
		return -1;
	switch (op->field[0].number) {
	case ROOT_FUSE:
		return run->server < 0 ? fault(why, 0, "mount the root filesystem: the plan has no file server") : mount_served(run, readonly, why);
	case ROOT_DIRECTORY:
		if (run->in_memory)
			return unpack_in_memory(run, readonly, why);
		return run->directory < 0 ? fault(why, 0, "mount the root filesystem: no unshare came before it") : rootfs_bind(&run->rootfs, run->directory, readonly, why);
	case ROOT_LOOP:
		if (run->image < 0)
			return fault(why, 0, "mount the root filesystem: no unshare came before it");
		status = rootfs_loop(&run->rootfs, run->image, op->field[2].number, run->image_size, why);
		close_fd(&run->image);
		return status;
	default:
		return fault(why, 0, "mount the root filesystem: unknown driver %u", (unsigned)op->field[0].number);
	}
}

static int obey_mount(struct run *run, size_t index, struct fault *why)
{
	struct mount_request *request = &run->mounts[index];
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

// What obeying the plan changed in the process, as it was.
static void restore_process(const struct run *run)
{
	umask(run->umask);
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

	restore_process(run);
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

	switch (op->code) {
	case OP_ENTRY:
		collect_entry(run, op);
		return 0;
	case OP_SERVE:
		return start_server(run, op, why);
	case OP_EXTRACT:
		return start_extraction(run, op, why);
	case OP_USERNS:
		map = (struct userns_map){
			.inside_uid = (uid_t)field[0].number, .inside_gid = (gid_t)field[1].number,
			.outside_uid = (uid_t)field[2].number, .outside_gid = (gid_t)field[3].number,
		};
		return userns_enter(&map, why);
	case OP_UNSHARE:
		if (namespaces_unshare((unsigned)field[0].number, why) < 0)
			return -1;
		return is_last_unshare(run, index) ? open_sources(run, why) : 0;
	case OP_ROOT:
		return mount_root(run, op, why);
	case OP_OVERLAY:
		return require_root(run, op, why) < 0 ? -1 : overlay_mount(&run->rootfs, run->upper, run->work, why);
	case OP_MOUNT:
		return require_root(run, op, why) < 0 ? -1 : obey_mount(run, index, why);
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
	}
	return fault(why, 0, "obey the launch plan: unknown operation %s", op->name);
}

int plan_run(const struct plan *plan, int exe_fd)
{
	static char *no_env[] = {NULL};
	struct fault why = {.error = 0};
	struct run run = {
		.plan = plan, .exe = exe_fd, .server = -1, .extraction = EXTRACTION_NONE, .rootfs = ROOTFS_NONE,
		.upper = -1, .work = -1, .directory = -1, .image = -1, .cwd = -1, .env = no_env,
	};

	run.entry = calloc(plan->count + 1, sizeof *run.entry);
	run.mounts = calloc(plan->count + 1, sizeof *run.mounts);
	if (!run.entry || !run.mounts)
		die(ENOMEM, "obey the launch plan");
	run.parent = getppid();
	prctl(PR_GET_PDEATHSIG, &run.parent_death_signal, 0, 0, 0);
	run.umask = umask(0);
	for (size_t i = 0; i < plan->count; i++) {
		const struct plan_op *op = &plan->op[i];
		if (obey(&run, i, &why) < 0)
			fault_die(&why, EXIT_OWN_FAILURE);
		if (op->code == OP_EXIT) {
			restore_process(&run);
			print_bytes(STDOUT_FILENO, &op->field[1]);
			print_bytes(STDERR_FILENO, &op->field[2]);
			return (int)op->field[0].number;
		}
	}
	die(0, "obey the launch plan: it has neither exec nor exit");
}
