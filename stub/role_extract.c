// SPDX-License-Identifier: Apache-2.0
// Role extract: an image unpacked into a directory of its own; nothing stays when it fails or is interrupted.
#include "roles.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "extract.h"
#include "image.h"

enum { CACHE_BYTES = 64 << 20 };

static void show_progress(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
	(void)arg;
	unsigned percent = bytes_total ? (unsigned)(bytes_done * 100 / bytes_total) : 100;
	dprintf(2, "\rextracting %3u%% (%llu of %llu MB)", percent, (unsigned long long)bytes_done / 1000000, (unsigned long long)bytes_total / 1000000);
}

static int extract(const char *file, uint64_t offset, uint64_t size, int target, int quiet)
{
	struct fault why = { 0 };
	struct image *image;
	struct extract_report report = { 0 };
	int with_progress = !quiet && isatty(2);
	struct extract_options options = { .keep_owners = geteuid() == 0, .progress = with_progress ? show_progress : NULL };
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(errno, "open %s", file);
	if (image_open(&image, fd, offset, size, CACHE_BYTES, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	int failed = extract_tree(image, target, &options, &report, &why);
	if (with_progress)
		dprintf(2, "\r%*s\r", 60, "");
	if (failed)
		fault_die(&why, EXIT_OWN_FAILURE);
	if (!quiet && report.skipped_devices)
		warn("%llu device nodes were left out (only root may make them)", (unsigned long long)report.skipped_devices);
	if (!quiet && report.skipped_xattrs)
		warn("%llu extended attributes were left out (not allowed or not supported here)", (unsigned long long)report.skipped_xattrs);
	return 0;
}

// Waits for the worker; a signal that asks us to stop ends it. Returns its wait status; *stopped is the signal or 0.
static int wait_for_worker(pid_t worker, const sigset_t *watched, int *stopped)
{
	int status = 0;
	*stopped = 0;
	for (;;) {
		int sig = sigwaitinfo(watched, NULL);
		if (sig > 0 && sig != SIGCHLD) {
			*stopped = sig;
			kill(worker, SIGKILL);
		}
		if (waitpid(worker, &status, sig > 0 && sig != SIGCHLD ? 0 : WNOHANG) == worker)
			return status;
	}
}

int extract_role(const struct buffer *facts)
{
	OWN const char *file = role_fact(facts, "file"), *target = role_fact(facts, "target"), *quiet = role_fact(facts, "quiet");
	uint64_t offset, size;
	struct fault ignored;
	sigset_t watched, before;
	if (!file || !target || role_number(facts, "offset", &offset) || role_number(facts, "size", &size))
		die(EINVAL, "role extract: file, offset, size and target are needed");
	sigemptyset(&watched);
	for (const int *sig = (const int[]){ SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, 0 }; *sig; sig++)
		sigaddset(&watched, *sig);
	signal(SIGCHLD, SIG_DFL);
	// Before there is anything that a signal could leave behind.
	sigprocmask(SIG_BLOCK, &watched, &before);
	if (mkdir(target, 0700))
		die(errno, "make %s", target);
	int dir = open(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		die(errno, "open %s", target);
	pid_t worker = fork();
	if (worker < 0)
		die(errno, "start a process");
	if (worker == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(extract(file, offset, size, dir, quiet && !strcmp(quiet, "1")));
	}
	int stopped, status = wait_for_worker(worker, &watched, &stopped);
	if (!status && !stopped)
		return 0;
	remove_tree(dir, &ignored);
	rmdir(target);
	if (stopped) {
		// Ends as the signal would have ended it, so that the caller sees why.
		sigprocmask(SIG_SETMASK, &before, NULL);
		signal(stopped, SIG_DFL);
		raise(stopped);
	}
	if (WIFSIGNALED(status))
		warn("the process that extracted was killed by signal %d", WTERMSIG(status));
	return EXIT_OWN_FAILURE;
}
