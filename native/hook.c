// SPDX-License-Identifier: Apache-2.0
#include "hook.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "entries.h"
#include "exec.h"
#include "paths.h"

// The user who started us is not root in our user namespace, and would lose all capabilities by the exec: ambient ones stay (capabilities(7)).
static void keep_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, sets) < 0)
		return;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		sets[i].inheritable = sets[i].permitted;
	if (syscall(SYS_capset, &head, sets) < 0)
		return;
	for (unsigned cap = 0; cap < 32 * _LINUX_CAPABILITY_U32S_3; cap++) {
		if (sets[cap / 32].permitted & (1u << cap % 32))
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	}
}

// Adds NAME=PATH items with PATH made absolute: it lies below the staging directory.
static char **add_paths(const struct rootfs *rootfs, const struct plan_field *env, const struct plan_field *paths)
{
	char **all = calloc(env->count + paths->count + 1, sizeof *all);
	size_t at = 0;

	if (!all)
		return NULL;
	for (size_t i = 0; i < env->count; i++)
		all[at++] = env->list[i];
	for (size_t i = 0; i < paths->count; i++) {
		const char *path = strchr(paths->list[i], '=');
		if (!path || asprintf(&all[at], "%.*s=%s/%s", (int)(path - paths->list[i]), paths->list[i], rootfs->base, path + 1) < 0)
			return NULL;
		at++;
	}
	return all;
}

// Where its stdout goes: a staged file, or nowhere.
static int open_output(const struct rootfs *rootfs, const char *path, struct fault *why)
{
	OWN_FD file = -1;
	char again[FD_PATH_SIZE];
	int fd;

	if (path[0]) {
		if (entry_file(rootfs->staging, path, 0600, "", 0, why) < 0)
			return -1;
		file = path_resolve(rootfs->staging, path, PATH_NOFOLLOW);
	}
	fd = open(path[0] ? fd_path(again, file) : "/dev/null", O_WRONLY | O_CLOEXEC);
	return fd < 0 ? fault(why, errno, "open %s for a hook", path[0] ? path : "/dev/null") : fd;
}

_Noreturn static void become_hook(const struct rootfs *rootfs, const struct plan_op *op, int output, mode_t mask, pid_t parent, const struct sigaction *chld)
{
	char **argv = op->field[1].list;
	const char *search = op->field[4].data;
	char **env = add_paths(rootfs, &op->field[2], &op->field[3]);
	struct fault why;
	char *program = NULL;
	int status = EXIT_OWN_FAILURE;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	// it may have died before the line above
	if (getppid() != parent)
		_exit(EXIT_OWN_FAILURE);
	sigaction(SIGCHLD, chld, NULL);
	if (!env || dup2(output, STDOUT_FILENO) < 0) {
		fault(&why, errno, "start the hook %s", op->field[0].data);
	} else {
		umask(mask);
		keep_capabilities();
		if (argv[0] && argv[0][0] != '/' && !search[0] && asprintf(&program, "%s/%s", rootfs->base, argv[0]) > 0)
			argv[0] = program;
		status = exec_command(argv, env, search, &why);
	}
	fault_die(&why, status);
}

int hook_run(const struct rootfs *rootfs, const struct plan_op *op, mode_t umask, const struct hook_wait *waiter, struct fault *why)
{
	const char *name = op->field[0].data;
	struct sigaction plain = {.sa_handler = SIG_DFL}, chld;
	pid_t parent = getpid(), pid;
	OWN_FD output = -1;
	int status;

	if (rootfs->staging < 0)
		return fault(why, 0, "run the hook %s: it comes before root", name);
	output = open_output(rootfs, op->field[5].data, why);
	if (output < 0)
		return -1;
	// a child whose end is ignored leaves no status
	sigaction(SIGCHLD, &plain, &chld);
	pid = (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
	if (pid == 0)
		become_hook(rootfs, op, output, umask, parent, &chld);
	status = pid < 0 ? -1 : waiter->wait(waiter->arg, pid);
	if (pid < 0)
		fault(why, errno, "start the hook %s", name);
	else if (status < 0)
		fault(why, errno, "wait for the hook %s", name);
	sigaction(SIGCHLD, &chld, NULL);
	if (status == 0 || status < 0)
		return status;
	if (WIFSIGNALED(status))
		return fault(why, 0, "the hook %s was killed by signal %d (%s)", name, WTERMSIG(status), strsignal(WTERMSIG(status)));
	return fault(why, 0, "the hook %s ended with status %d", name, WEXITSTATUS(status));
}

// Is it the host's side of one of these "HOST:PLACE"?
static bool is_bound(const struct rootfs *rootfs, const char *path, const char *name, char *const *binds)
{
	OWN char *host = NULL;
	int size = binds && *binds ? asprintf(&host, "%s/%s/%s:", rootfs->base, path, name) : -1;

	for (; size > 0 && *binds; binds++)
		if (strncmp(*binds, host, (size_t)size) == 0)
			return true;
	return false;
}

// Directories stay: a hook may have mounted what it has put there. A file that is mounted lives on without its name.
static void remove_files(const struct rootfs *rootfs, const char *path, char *const *binds)
{
	int fd = openat(rootfs->staging, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!list) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(list)))
		if (!is_bound(rootfs, path, entry->d_name, binds))
			unlinkat(dirfd(list), entry->d_name, 0);
	closedir(list);
}

void hook_forget(const struct rootfs *rootfs, char *const *binds)
{
	remove_files(rootfs, "run", binds);
	remove_files(rootfs, "run/mount", binds);
}
