// SPDX-License-Identifier: Apache-2.0
// What can be had where no user namespace can (or where root does not want one): tried in children, and only when the planner asks.
#include "probes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "namespace.h"
#include "spawn.h"

// A line of the answer; step NULL: it went well.
static int tell(int out, const char *rung, const char *step)
{
	if (step)
		dprintf(out, "%s %s %d\n", rung, step, errno);
	else
		dprintf(out, "%s ok\n", rung);
	return !step;
}

// Real root with mounts in a mount namespace of its own.
static void try_root(int out)
{
	const char *base = NULL, *step = enter_mount_namespace();
	if (!step)
		step = mount_scratch("mode=0700,size=1m", &base);
	if (!step && chdir(base))
		step = "tmpfs";
	if (!tell(out, "root", step))
		return;
	tell(out, "root-fuse", probe_fuse());
	tell(out, "root-overlay", probe_overlay());
	tell(out, "root-tmpfs-xattr", probe_tmpfs_xattr());
}

static void try_chroot(int out)
{
	tell(out, "chroot", chroot(".") ? "chroot" : NULL);
}

// As tracer/attach.c does it: an orphan seizes the process that allowed it to.
static void try_ptrace(int out)
{
	pid_t self = getpid();
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	pid_t tracer = spawn_child();
	if (tracer < 0) {
		tell(out, "ptrace", "fork");
	} else if (tracer == 0) {
		tell(out, "ptrace", syscall(SYS_ptrace, PTRACE_SEIZE, (long)self, 0L, 0L) < 0 ? "seize" : NULL);
		_exit(0);
	} else {
		reap_child(tracer);
	}
}

static void collect(void (*try)(int out), struct buffer *out)
{
	int pipes[2];
	char text[512];
	ssize_t got;
	if (pipe2(pipes, O_CLOEXEC))
		return;
	pid_t child = spawn_child();
	if (child == 0) {
		try(pipes[1]);
		_exit(0);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], text, sizeof text)) > 0 || (got < 0 && errno == EINTR))
		if (got > 0)
			buffer_add(out, text, (size_t)got);
	close(pipes[0]);
	if (child > 0)
		reap_child(child);
}

void tell_rungs(struct buffer *out)
{
	if (geteuid() == 0) {
		collect(try_root, out);
		collect(try_chroot, out);
	}
	collect(try_ptrace, out);
}
