// SPDX-License-Identifier: Apache-2.0
// What proot 5.1.0 does with its child, done to the process that is there already (launch_process and event_loop in its src/tracee/event.c).
// The tracer seizes (ptrace(2), PTRACE_SEIZE): only then can a stopped process group stay stopped, and only then is no signal spent on attaching.
#include "tracer.h"
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "detach.h"
#include "fault.h"

// What proot finds here before it finds it in libc; everything else stays inside.
#define REPLACE __attribute__((visibility("default")))

int tracer_job = -1, tracer_hold = -1, tracer_lock = -1;
bool tracer_is_tracee;
static pid_t visible;   // in the tracer: the process that the user started; 0 elsewhere

static int take_number(const char *name)
{
	const char *text = getenv(name);
	int number = text && *text ? atoi(text) : -1;

	unsetenv(name);
	return number;
}

__attribute__((constructor)) static void take_variables(void)
{
	tracer_job = take_number("BUNDLER_TRACER_JOB");
	tracer_hold = take_number("BUNDLER_TRACER_HOLD");
	tracer_lock = take_number("BUNDLER_TRACER_LOCK");
}

// proot asks for these when it loads the first program; detach_settle wipes the environment.
static void keep_variables(char *const value[], const char *const name[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (value[i])
			setenv(name[i], value[i], 1);
}

// In the new process: proot goes on as if it had forked `tracee`.
static pid_t become_tracer(pid_t tracee, int link)
{
	static const char *const name[] = {"PROOT_LOADER", "PROOT_LOADER_32", "PROOT_NO_SECCOMP", "PROOT_IGNORE_MISSING_BINDINGS"};
	enum { COUNT = sizeof name / sizeof name[0] };
	const int keep[] = {link, tracer_hold, tracer_lock};
	char *value[COUNT];
	pid_t self;
	int error = 0;

	for (size_t i = 0; i < COUNT; i++) {
		const char *text = getenv(name[i]);
		value[i] = text ? strdup(text) : NULL;
	}
	detach_settle("bundler-tracer", keep, sizeof keep / sizeof keep[0]);
	keep_variables(value, name, COUNT);
	self = getpid();
	// It answers when it allows us to attach; an end of file means that it was killed meanwhile.
	if (send(link, &self, sizeof self, MSG_NOSIGNAL) != sizeof self || recv(link, &error, sizeof error, 0) != sizeof error)
		_exit(EXIT_OWN_FAILURE);
	// EXITKILL: without us its system calls would mean files of the host.
	if (syscall(SYS_ptrace, PTRACE_SEIZE, (long)tracee, 0L, (long)PTRACE_O_EXITKILL) < 0 || syscall(SYS_ptrace, PTRACE_INTERRUPT, (long)tracee, 0L, 0L) < 0)
		error = errno;
	if (send(link, &error, sizeof error, MSG_NOSIGNAL) != sizeof error || error)
		_exit(EXIT_OWN_FAILURE);
	close(link);
	visible = tracee;
	return tracee;
}

static void explain_denied(struct fault *why)
{
	if (why->error != EPERM)
		return;
	fault_hint(why, "another process traces this one (strace, gdb), or the host forbids tracing: /proc/sys/kernel/yama/ptrace_scope, a seccomp filter");
}

// In the old process: until it is traced.
static void await_tracer(int link)
{
	struct fault why;
	pid_t tracer = 0;
	int error = 0;

	if (recv(link, &tracer, sizeof tracer, 0) != sizeof tracer)
		die(0, "start the tracing process: it ended early");
	// Yama (ptrace_scope 1) lets only ancestors attach, unless told otherwise.
	prctl(PR_SET_PTRACER, (unsigned long)tracer, 0, 0, 0);
	if (send(link, &error, sizeof error, MSG_NOSIGNAL) != sizeof error || recv(link, &error, sizeof error, 0) != sizeof error)
		die(0, "start the tracing process: it ended early");
	if (error) {
		fault(&why, error, "run the container without namespaces: attach to process %d", (int)getpid());
		explain_denied(&why);
		fault_die(&why, EXIT_OWN_FAILURE);
	}
	prctl(PR_SET_PTRACER, 0, 0, 0, 0);
}

// proot's only fork, in launch_process(): 0 in the process to be traced, its pid in the tracer.
REPLACE pid_t fork(void)
{
	struct fault why;
	pid_t self = getpid();
	int pair[2], side;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die(errno, "make a socket for the tracing process");
	side = detach_fork(&why);
	if (side < 0)
		fault_die(&why, EXIT_OWN_FAILURE);
	if (side == 0) {
		close(pair[0]);
		return become_tracer(self, pair[1]);
	}
	close(pair[1]);
	await_tracer(pair[0]);
	close(pair[0]);
	close_fd(&tracer_hold);
	close_fd(&tracer_lock);
	tracer_is_tracee = true;
	return 0;
}

// The tracee's PTRACE_TRACEME has happened already; the tracer's options get ours added.
REPLACE long ptrace(enum __ptrace_request request, ...)
{
	va_list list;
	va_start(list, request);
	long pid = va_arg(list, pid_t), address = va_arg(list, long), data = va_arg(list, long), value = 0;
	va_end(list);

	if (tracer_is_tracee)
		return 0;
	if (request == PTRACE_SETOPTIONS)
		data |= PTRACE_O_EXITKILL;
	if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER)
		return syscall(SYS_ptrace, (long)request, pid, address, data);
	// libc returns the word, the system call stores it
	if (syscall(SYS_ptrace, (long)request, pid, address, &value) < 0)
		return -1;
	errno = 0;
	return value;
}

// A seized process reports stops of its group and its own first one as PTRACE_EVENT_STOP. The former must last; the latter is the SIGSTOP that proot expects.
REPLACE pid_t waitpid(pid_t pid, int *status, int options)
{
	for (;;) {
		pid_t who = (pid_t)syscall(SYS_wait4, (long)pid, status, (long)options, 0L);
		// kill -9 of what the user sees is to end all of it: with us everything that is traced dies.
		if (who > 0 && who == visible && status && WIFSIGNALED(*status) && WTERMSIG(*status) == SIGKILL)
			_exit(0);
		if (who <= 0 || !status || !WIFSTOPPED(*status) || *status >> 16 != PTRACE_EVENT_STOP)
			return who;
		if (WSTOPSIG(*status) == SIGTRAP) {
			*status = SIGSTOP << 8 | 0x7f;
			return who;
		}
		syscall(SYS_ptrace, PTRACE_LISTEN, (long)who, 0L, 0L);
	}
}

// The SIGSTOP with which proot's child waits for its tracer: it has one.
REPLACE int kill(pid_t pid, int number)
{
	return tracer_is_tracee && number == SIGSTOP ? 0 : (int)syscall(SYS_kill, (long)pid, (long)number);
}

// The last thing that proot's child does. What it was given to run is a file that is always there.
REPLACE int execvp(const char *file, char *const argv[])
{
	(void)file;
	(void)argv;
	tracer_run();
}

// Before it traces anything proot ends by itself with 1, after a message. The tracer cleans up.
REPLACE void exit(int status)
{
	void (*libc_exit)(int) = (void (*)(int))dlsym(RTLD_NEXT, "exit");

	if (visible && libc_exit)
		libc_exit(status);
	fflush(NULL);
	_exit(EXIT_OWN_FAILURE);
}
