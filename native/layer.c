// SPDX-License-Identifier: Apache-2.0
// A writable layer, seen from the process that becomes the command; its keeper does the rest.
#include "layer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "dirs.h"
#include "watch.h"

static int await_layer(int control, struct fault *said, struct fault *why)
{
	struct watch_note note;
	ssize_t size;

	while ((size = recv(control, &note, sizeof note, 0)) < 0 && errno == EINTR)
		;
	if (size != (ssize_t)sizeof note)
		return fault(why, size < 0 ? errno : 0, "make a writable layer: its keeper ended early");
	*(note.kind == WATCH_DONE ? said : why) = note.why;
	return note.kind == WATCH_DONE ? 0 : -1;
}

int layer_start(struct layer *layer, const struct layer_request *request, struct fault *why)
{
	struct fault said;
	struct stat facts;
	int size;

	layer->control = layer_keeper_start(request, why);
	if (layer->control < 0 || await_layer(layer->control, &said, why) < 0)
		return -1;
	layer->shown = request->dir[0] ? request->dir : request->place;
	layer->fresh = !request->dir[0] || strcmp(said.text, "fresh") == 0;
	size = request->dir[0] ? asprintf(&layer->path, "%s", request->dir) : asprintf(&layer->path, "%s/%s/root", request->place, said.text);
	if (size < 0)
		return fault(why, ENOMEM, "make a writable layer");
	if (stat(layer->path, &facts) < 0)
		return fault(why, errno, "open %s", layer->path);
	layer->dev = facts.st_dev;
	layer->ino = facts.st_ino;
	return 0;
}

int layer_open(const struct layer *layer, int *upper, int *work, struct fault *why)
{
	OWN_FD dir = open(layer->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat facts;

	if (dir < 0 || fstat(dir, &facts) < 0)
		return fault(why, errno, "open %s", layer->path);
	if (facts.st_dev != layer->dev || facts.st_ino != layer->ino)
		return fault(why, 0, "open %s: it was replaced by another", layer->path);
	*upper = openat(dir, "upper", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	*work = openat(dir, "work", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *upper < 0 || *work < 0 ? fault(why, errno, "open the directories of the overlay in %s", layer->path) : 0;
}

int layer_fault(const char *shown, int dir, int error, struct fault *why)
{
	struct dir_fact fact;

	dir_measure(dir, 0, &fact);
	fault(why, error, "keep the changes in %s: its file system (%s) cannot hold an overlay", shown, fact.fstype);
	return fault_hint(why, "name a directory on a local disk (ext4, xfs, btrfs); or write into an unpacked copy: --keep --target DIR");
}
