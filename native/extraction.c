// SPDX-License-Identifier: Apache-2.0
// Extraction, seen from the process that becomes the command; the janitor does the rest.
#include "extraction.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "janitor.h"
#include "passing.h"
#include "watch.h"

static bool shows_progress(const struct extraction_request *request)
{
	return !request->quiet && isatty(STDERR_FILENO);
}

// Splits "a/b/" into an open "a" and the name "b".
static int open_parent(const char *path, char name[NAME_MAX + 1], struct fault *why)
{
	char parent[PATH_MAX], *slash;
	size_t size = strlen(path);
	int fd;

	while (size > 1 && path[size - 1] == '/')
		size--;
	if (size >= sizeof parent)
		return fault(why, ENAMETOOLONG, "unpack into %.60s..", path);
	memcpy(parent, path, size);
	parent[size] = 0;
	slash = strrchr(parent, '/');
	if (strlen(slash ? slash + 1 : parent) > NAME_MAX)
		return fault(why, ENAMETOOLONG, "unpack into %.60s..", path);
	strcpy(name, slash ? slash + 1 : parent);
	if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		fault(why, 0, "unpack into %s: not the name of a new directory", path);
		return fault_hint(why, "name a directory that does not exist yet, with --target");
	}
	if (!slash)
		strcpy(parent, ".");
	else
		slash[slash == parent] = 0;
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	fault(why, errno, "open %s, to unpack into %s", parent, path);
	if (why->error == ENOENT)
		fault_hint(why, "make it first: mkdir -p %s", parent);
	return -1;
}

// Until the tree is there; nest: the name of the nest it is in, or ""; lock: what keeps it from being swept, or -1.
static int await_tree(int control, bool draw, char nest[NAME_MAX + 1], int *lock, struct fault *why)
{
	bool drawn = false;
	int status = -1;

	for (;;) {
		struct watch_note note;
		ssize_t size = pass_receive(control, &note, sizeof note, lock, 1);
		if (size != (ssize_t)sizeof note) {
			fault(why, size < 0 ? errno : 0, "unpack the image: the unpacking process ended early");
			break;
		}
		if (note.kind == WATCH_PROGRESS && draw) {
			progress_draw(note.done, note.total);
			drawn = true;
		} else if (note.kind == WATCH_FAILED) {
			*why = note.why;
			break;
		} else if (note.kind == WATCH_DONE) {
			snprintf(nest, NAME_MAX + 1, "%.*s", NAME_MAX, note.why.text);
			status = 0;
			break;
		}
	}
	if (drawn)
		progress_wipe();
	return status;
}

static int note_tree(struct extraction *extraction, const char *nest, const struct extraction_request *request, struct fault *why)
{
	struct stat facts;
	int size;

	if (request->target[0])
		size = asprintf(&extraction->path, "%s", request->target);
	else
		size = asprintf(&extraction->path, "%s/%s/root", request->place, nest);
	if (size < 0)
		return fault(why, ENOMEM, "unpack the image");
	if (stat(extraction->path, &facts) < 0)
		return fault(why, errno, "open %s", extraction->path);
	extraction->dev = facts.st_dev;
	extraction->ino = facts.st_ino;
	return 0;
}

int extraction_start(struct extraction *extraction, const struct extraction_request *request, struct fault *why)
{
	char name[NAME_MAX + 1], nest[NAME_MAX + 1] = "";
	OWN_FD parent = -1;
	OWN_FD process = (int)syscall(SYS_pidfd_open, getpid(), 0);   // close-on-exec of itself
	struct janitor_job job = {
		.unpack = {.file = request->file, .offset = request->offset, .size = request->size, .keep_owners = request->keep_owners,
			.place = request->target[0] ? request->target : request->place},
		.target = {.parent = -1}, .keep = request->keep, .reuse = request->reuse, .process = process,
	};

	if (request->target[0]) {
		parent = open_parent(request->target, name, why);
		if (parent < 0)
			return -1;
		job.target = (struct target){.parent = parent, .name = name, .shown = request->target, .digest = request->digest};
	}
	extraction->control = janitor_start(&job, why);
	if (extraction->control < 0 || await_tree(extraction->control, shows_progress(request), nest, &extraction->lock, why) < 0)
		return -1;
	return note_tree(extraction, nest, request, why);
}

int extraction_open(const struct extraction *extraction, struct fault *why)
{
	int fd = open(extraction->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat facts;

	if (fd < 0 || fstat(fd, &facts) < 0 || facts.st_dev != extraction->dev || facts.st_ino != extraction->ino) {
		fault(why, fd < 0 ? errno : 0, "open the unpacked tree %s%s", extraction->path, fd < 0 ? "" : ": it was replaced by another");
		close_fd(&fd);
		return -1;
	}
	return fd;
}

static void draw_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	progress_draw(done, total);
}

int extraction_into(int dir, const struct extraction_request *request, struct fault *why)
{
	struct unpack_request unpack = {
		.file = request->file, .offset = request->offset, .size = request->size, .keep_owners = request->keep_owners, .place = "memory",
		.progress = shows_progress(request) ? draw_progress : NULL,
	};
	int status = unpack_into(dir, &unpack, why);

	if (unpack.progress)
		progress_wipe();
	return status;
}
