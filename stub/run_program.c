// SPDX-License-Identifier: Apache-2.0
#include "run_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "descriptors.h"
#include "spawn.h"

enum { LOOK_MS = 10, GRACE_MS = 500 };

// Where a host keeps its own programs; the last is NixOS.
static const char *const places[] = { "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin", "/run/current-system/sw/bin" };

static void execute(char **argv)
{
	int denied = 0;
	if (strchr(argv[0], '/')) {
		execv(argv[0], argv);
		return;
	}
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		char path[4096];
		if (snprintf(path, sizeof path, "%s/%s", places[i], argv[0]) >= (int)sizeof path)
			continue;
		execv(path, argv);
		denied |= errno == EACCES;
		if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
			return;
	}
	errno = denied ? EACCES : ENOENT;
}

// Its own session: no terminal, and one group to kill. What the user's descriptors hold is not its business.
_Noreturn static void become_program(char **argv, int out, int failure)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		null = memfd_create("bundler-null", MFD_CLOEXEC);
	setsid();
	dup2(null, 0);
	dup2(out, 1);
	dup2(null, 2);
	close_descriptors(3, &failure, 1);
	execute(argv);
	int error = errno;
	(void)!write(failure, &error, sizeof error);
	_exit(EXIT_NOT_FOUND);
}

static long long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

// Has it ended? Its status stays for the one who reaps: until then its process group cannot become another's.
static int has_ended(pid_t pid)
{
	siginfo_t info = { 0 };
	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) || info.si_pid;
}

// Takes what there is to read without waiting. 1: more may come; 0: the end.
static int take_output(int out, size_t max_bytes, struct buffer *text)
{
	for (;;) {
		char part[16384];
		ssize_t size = read(out, part, sizeof part);
		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return size < 0 && errno == EAGAIN;
		// One byte too many tells that there were too many.
		size_t room = max_bytes + 1 - text->size;
		buffer_add(text, part, (size_t)size < room ? (size_t)size : room);
		if (text->size > max_bytes)
			return 0;
	}
}

static volatile sig_atomic_t is_cancelled;

static void note_cancellation(int sig)
{
	(void)sig;
	is_cancelled = 1;
}

// Waits until the program has ended, its time is up or its output is too long: "" or what went wrong.
static const char *attend(pid_t pid, int out, const struct program *program, struct buffer *text)
{
	long long end = now_ms() + program->timeout_ms;
	for (int open = 1;;) {
		// Asked first: what it wrote before its end is then read below, and no more is waited for.
		int ended = has_ended(pid);
		open = open && take_output(out, program->max_bytes, text);
		if (text->size > program->max_bytes)
			return "long";
		if (ended)
			return "";
		long long left = end - now_ms();
		if (left <= 0 || is_cancelled)
			return "late";
		// A program whose output has ended is about to end itself.
		struct pollfd ready = { .fd = open ? out : -1, .events = POLLIN };
		poll(&ready, 1, !open ? 1 : left < LOOK_MS ? (int)left : LOOK_MS);
	}
}

// Ends the group; one that the kernel holds (a dead file server) is given up after a moment, and is init's when we end.
static int end_group(pid_t pid)
{
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	for (int waited_ms = 0; !has_ended(pid); waited_ms++) {
		struct timespec millisecond = { 0, 1000000 };
		if (waited_ms >= GRACE_MS)
			return -1;
		nanosleep(&millisecond, NULL);
	}
	return reap_child(pid);
}

// Between launcher and program stands a process of ours: the launcher keeps no child that will not end, its signals stay as they are, and a
// launcher that is killed takes both along. SIGTERM makes it end the program.
_Noreturn static void supervise(const struct program *program, int result)
{
	int out[2], failure[2], error = 0;
	struct buffer text = { 0 };
	char head[64];
	reset_signals();
	signal(SIGTERM, note_cancellation);
	close_descriptors(3, &result, 1);
	if (pipe2(out, O_CLOEXEC) || pipe2(failure, O_CLOEXEC) || fcntl(out[0], F_SETFL, O_NONBLOCK)) {
		dprintf(result, "failed %d\n", errno);
		_exit(0);
	}
	pid_t pid = spawn_child();
	if (pid < 0) {
		dprintf(result, "failed %d\n", errno);
		_exit(0);
	}
	if (pid == 0)
		become_program(program->argv, out[1], failure[1]);
	close(out[1]);
	close(failure[1]);
	const char *trouble = attend(pid, out[0], program, &text);
	int status = end_group(pid);
	fcntl(failure[0], F_SETFL, O_NONBLOCK);
	if (read(failure[0], &error, sizeof error) == sizeof error)
		snprintf(head, sizeof head, "failed %d\n", error);
	else if (*trouble)
		snprintf(head, sizeof head, "%s\n", trouble);
	else if (WIFSIGNALED(status))
		snprintf(head, sizeof head, "signal %d\n", WTERMSIG(status));
	else
		snprintf(head, sizeof head, "exit %d\n", WEXITSTATUS(status));
	if (!write_exactly(result, head, strlen(head)) && text.size)
		write_exactly(result, text.data, text.size > program->max_bytes ? program->max_bytes : text.size);
	_exit(0);
}

void program_start(const struct program *program, struct running *running)
{
	int result[2];
	*running = (struct running)RUNNING_NONE;
	if (pipe2(result, O_CLOEXEC)) {
		running->error = errno;
		return;
	}
	running->child = spawn_child();
	if (running->child == 0)
		supervise(program, result[1]);
	running->error = running->child > 0 ? EIO : errno;
	close(result[1]);
	running->result = result[0];
}

void program_finish(struct running *running, struct buffer *answer)
{
	char part[16384];
	size_t before = answer->size;
	for (ssize_t size; running->child > 0 && ((size = read(running->result, part, sizeof part)) > 0 || (size < 0 && errno == EINTR));)
		if (size > 0)
			buffer_add(answer, part, (size_t)size);
	close_fd(&running->result);
	if (running->child > 0)
		reap_child(running->child);
	running->child = -1;
	if (answer->size == before) {
		int size = snprintf(part, sizeof part, "failed %d\n", running->error);
		buffer_add(answer, part, (size_t)size);
	}
}

void program_cancel(struct running *running)
{
	if (running->child > 0) {
		kill(running->child, SIGTERM);
		reap_child(running->child);
	}
	close_fd(&running->result);
	running->child = -1;
}

void run_program(const struct program *program, struct buffer *answer)
{
	struct running running;
	program_start(program, &running);
	program_finish(&running, answer);
}
