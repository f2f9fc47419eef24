// SPDX-License-Identifier: Apache-2.0
#include "planner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "descriptors.h"

enum { STATUS_NO_EXEC = 121, ERRORS_SHOWN = 16384, PATIENCE_MS = 2000 };

// What the child tells before its exec; read to the end of file by the parent, so that it also tells when the exec is done.
struct report { char from[16], dir[4096]; struct fault why; int failed; };

_Noreturn static void become_planner(const struct bundle *bundle, struct runtime *runtime, const int fds[3], int report_fd, const struct fault *candidates)
{
	struct report report = { .why = *candidates };
	char loader[5000], library[5000], program[5000], cwd[4096];
	if (!strcmp(runtime->from, "namespace")) {
		report.failed = runtime_enter(bundle, runtime, &report.why) != 0;
		snprintf(report.from, sizeof report.from, "%s", runtime->from);
		snprintf(report.dir, sizeof report.dir, "%s", runtime->dir);
		(void)!write(report_fd, &report, sizeof report);
		if (report.failed)
			_exit(EXIT_OWN_FAILURE);
		// Unsharing a user namespace may have dropped it.
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	}
	setsid();
	// Node will not start in a directory that was removed.
	if (!getcwd(cwd, sizeof cwd) || *cwd != '/')
		(void)!chdir("/");
	for (int fd = 0; fd < 3; fd++)
		dup2(fds[fd], fd);
	close_descriptors(3, NULL, 0);
	reset_signals();
	raise_limits();
	snprintf(loader, sizeof loader, "%s/ld.so", runtime->dir);
	snprintf(library, sizeof library, "%s/lib", runtime->dir);
	snprintf(program, sizeof program, "%s/runtime", runtime->dir);
	char *argv[] = { loader, "--inhibit-cache", "--library-path", library, "--argv0", "bundler", program, "plan", NULL };
	char *nothing[] = { NULL };
	execve(loader, argv, nothing);
	dprintf(2, "bundler: execute %s: %s\n", loader, strerror(errno));
	_exit(STATUS_NO_EXEC);
}

static void close_all(int *fd, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close_fd(&fd[i]);
}

int planner_start(const struct bundle *bundle, struct runtime *runtime, struct planner *planner, struct fault *why)
{
	int fd[7] = { -1, -1, -1, -1, -1, -1, -1 };
	enum { REQUEST, REQUEST_THEIRS, REPLY, REPLY_THEIRS, REPORT, REPORT_THEIRS, ERRORS };
	fd[ERRORS] = memfd_create("bundler-planner", MFD_CLOEXEC);
	if (fd[ERRORS] < 0)
		fd[ERRORS] = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd[ERRORS] < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd + REQUEST) || pipe2(fd + REPLY, O_CLOEXEC) || pipe2(fd + REPORT, O_CLOEXEC)) {
		int error = errno;
		close_all(fd, 7);
		return fault(why, error, "make pipes for the planner");
	}
	remember_sigchld(&planner->sigchld);
	planner->pid = spawn_child();
	if (planner->pid < 0) {
		int error = errno;
		close_all(fd, 7);
		fault(why, error, "start a process");
		return error == EAGAIN ? fault_hint(why, "the limit on processes is reached (ulimit -u, or the cgroup's pids.max)") : -1;
	}
	if (planner->pid == 0)
		become_planner(bundle, runtime, (int[]){ fd[REQUEST_THEIRS], fd[REPLY_THEIRS], fd[ERRORS] }, fd[REPORT_THEIRS], why);
	close_fd(&fd[REQUEST_THEIRS]);
	close_fd(&fd[REPLY_THEIRS]);
	close_fd(&fd[REPORT_THEIRS]);
	planner->request = fd[REQUEST];
	planner->reply = fd[REPLY];
	planner->errors = fd[ERRORS];
	if (strcmp(runtime->from, "namespace")) {
		close_fd(&fd[REPORT]);
		return 0;
	}
	struct report report;
	runtime_release(runtime);
	int told = !read_exactly(fd[REPORT], &report, sizeof report, -1);
	close_fd(&fd[REPORT]);
	if (told && !report.failed) {
		runtime->from = !strcmp(report.from, "mounted") ? "mounted" : "memory";
		snprintf(runtime->dir, sizeof runtime->dir, "%s", report.dir);
		return 0;
	}
	planner_end(planner);
	if (told)
		*why = report.why;
	return told ? -1 : fault(why, 0, "mount the runtime: the process that did it died");
}

static int collect(struct planner *planner)
{
	close_fd(&planner->request);
	close_fd(&planner->reply);
	int status = planner->pid > 0 ? reap_child(planner->pid) : -1;
	planner->pid = 0;
	forget_sigchld(&planner->sigchld);
	return status;
}

int planner_reap(struct planner *planner)
{
	// Looking without waiting (WNOWAIT leaves the status): one that closed its pipe but does not end is killed.
	for (int waited_ms = 0; planner->pid > 0 && waited_ms < PATIENCE_MS; waited_ms++) {
		siginfo_t info = { 0 };
		struct timespec millisecond = { 0, 1000000 };
		if (waitid(P_PID, (id_t)planner->pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) || info.si_pid)
			return collect(planner);
		nanosleep(&millisecond, NULL);
	}
	return planner_end(planner);
}

void planner_dismiss(const struct planner *planner)
{
	// It has nothing left to do once its reply is here, and Node's own way out would cost milliseconds.
	if (planner->pid > 0)
		kill(planner->pid, SIGKILL);
}

int planner_end(struct planner *planner)
{
	planner_dismiss(planner);
	return collect(planner);
}

int planner_could_not_run(int status)
{
	if (status == -1)
		return 0;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGABRT;
	return WEXITSTATUS(status) == STATUS_NO_EXEC || WEXITSTATUS(status) == EXIT_NOT_FOUND || WEXITSTATUS(status) == EXIT_NOT_EXECUTABLE;
}

void planner_explain(struct planner *planner, int status)
{
	char how[64] = "ended without an answer", text[ERRORS_SHOWN];
	if (status != -1 && WIFSIGNALED(status))
		snprintf(how, sizeof how, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (status != -1)
		snprintf(how, sizeof how, "ended with status %d and no answer", WEXITSTATUS(status));
	ssize_t size = pread(planner->errors, text, sizeof text, 0);
	if (size > 0)
		(void)!write_exactly(2, text, (size_t)size);
	struct fault why;
	fault(&why, 0, "the planner %s", how);
	if (status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		fault_hint(&why, "the kernel ends processes like this when memory runs out: see dmesg, ulimit -v, or the job's memory limit");
	else
		fault_hint(&why, "this is a bug in bundler unless memory or limits are short here: report it with the lines above");
	fault_print(&why);
}
