// SPDX-License-Identifier: Apache-2.0
#include "probes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "namespace.h"
#include "spawn.h"

#define PROBES(X) X(USERNS, "userns") X(MOUNT, "mount") X(FUSE, "fuse") X(OVERLAY, "overlay") X(TMPFS_XATTR, "tmpfs-xattr") \
	X(LOOP, "loop") X(SECCOMP, "seccomp") X(PIDFD, "pidfd") X(OPENAT2, "openat2")

enum probe {
#define X(id, name) id,
	PROBES(X)
#undef X
	PROBE_COUNT
};

static const char *const names[] = {
#define X(id, name) [id] = name,
	PROBES(X)
#undef X
};

struct result { int probe, error; char step[16]; };   // step "": passed; "skipped"

// Tells the parent at once, so that a probe that kills the child costs no result before it.
static int report(int out, enum probe probe, const char *step)
{
	struct result result = { .probe = probe, .error = step ? errno : 0 };
	if (step)
		snprintf(result.step, sizeof result.step, "%s", step);
	(void)!write(out, &result, sizeof result);
	return !step;
}

static const char *try_loop(void)
{
	if (geteuid() != 0)
		return "skipped";
	OWN_FD control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return "control";
	return ioctl(control, LOOP_CTL_GET_FREE) < 0 ? "get" : NULL;
}

static const char *try_pidfd(void)
{
	OWN_FD fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	return fd < 0 ? "open" : NULL;
}

static const char *try_openat2(void)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	OWN_FD root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	OWN_FD fd = (int)syscall(SYS_openat2, root, ".", &how, sizeof how);
	return fd < 0 ? "open" : NULL;
}

const char *probe_fuse(void)
{
	char data[160];
	OWN_FD fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return "open";
	snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions", fd, geteuid(), getegid());
	if (mkdir("fuse", 0700) || mount("bundler", "fuse", "fuse", MS_NOSUID | MS_NODEV, data))
		return "mount";
	umount2("fuse", MNT_DETACH);
	return NULL;
}

const char *probe_overlay(void)
{
	if (mkdir("lower", 0700) || mkdir("lower/dir", 0700) || mkdir("upper", 0700) || mkdir("work", 0700) || mkdir("merged", 0700))
		return "mount";
	if (mount("bundler", "merged", "overlay", MS_NOSUID | MS_NODEV, "lowerdir=lower,upperdir=upper,workdir=work,userxattr,xino=off"))
		return "mount";
	const char *step = rmdir("merged/dir") ? "rmdir" : mkdir("merged/dir", 0700) ? "mkdir" : NULL;
	int error = errno;
	umount2("merged", MNT_DETACH);
	errno = error;
	return step;
}

const char *probe_tmpfs_xattr(void)
{
	return setxattr(".", "user.bundler", "1", 1, 0) ? "setxattr" : NULL;
}

static const char *try_seccomp(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
		return "filter";
	return NULL;
}

// Everything that needs the scratch tmpfs; its directory becomes the working directory.
static void try_mounts(int out)
{
	const char *base = NULL, *step = enter_mount_namespace();
	if (!step)
		step = mount_scratch("mode=0700,size=1m", &base);
	if (!step && chdir(base))
		step = "tmpfs";
	if (!report(out, MOUNT, step)) {
		report(out, FUSE, "skipped");
		report(out, OVERLAY, "skipped");
		report(out, TMPFS_XATTR, "skipped");
		return;
	}
	report(out, FUSE, probe_fuse());
	report(out, OVERLAY, probe_overlay());
	report(out, TMPFS_XATTR, probe_tmpfs_xattr());
}

_Noreturn static void try_all(int out)
{
	umask(077);
	report(out, LOOP, try_loop());
	report(out, PIDFD, try_pidfd());
	report(out, OPENAT2, try_openat2());
	if (report(out, USERNS, enter_user_namespace())) {
		try_mounts(out);
	} else {
		static const enum probe inside[] = { MOUNT, FUSE, OVERLAY, TMPFS_XATTR };
		for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
			report(out, inside[i], "skipped");
	}
	report(out, SECCOMP, try_seccomp());
	_exit(0);
}

int probes_start(struct probes *probes, struct fault *why)
{
	int pipes[2];
	if (pipe2(pipes, O_CLOEXEC))
		return fault(why, errno, "make a pipe");
	probes->child = spawn_child();
	if (probes->child < 0) {
		int error = errno;
		close(pipes[0]);
		close(pipes[1]);
		return fault(why, error, "start a process");
	}
	if (probes->child == 0)
		try_all(pipes[1]);
	close(pipes[1]);
	probes->results = pipes[0];
	return 0;
}

void probes_finish(struct probes *probes, struct buffer *facts)
{
	static const char *const first_step[PROBE_COUNT] = { "unshare", "unshare", "open", "mount", "setxattr", "control", "filter", "open", "open" };
	struct result result;
	int seen[PROBE_COUNT] = { 0 };
	while (!read_exactly(probes->results, &result, sizeof result, -1)) {
		if (result.probe < 0 || result.probe >= PROBE_COUNT)
			continue;
		char key[32];
		snprintf(key, sizeof key, "probe.%s", names[result.probe]);
		seen[result.probe] = 1;
		if (!result.step[0])
			facts_addf(facts, key, "ok");
		else if (!strcmp(result.step, "skipped"))
			facts_addf(facts, key, "skipped");
		else
			facts_addf(facts, key, "%s %d", result.step, result.error);
	}
	close(probes->results);
	reap_child(probes->child);
	// A child that was killed (a filter that does so) denied what it had not reported yet.
	for (int i = 0; i < PROBE_COUNT; i++)
		if (!seen[i]) {
			char key[32];
			snprintf(key, sizeof key, "probe.%s", names[i]);
			facts_addf(facts, key, "%s %d", first_step[i], EPERM);
		}
}
