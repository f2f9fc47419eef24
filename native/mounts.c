// SPDX-License-Identifier: Apache-2.0
// Mounting: sources opened early, mountpoints made and resolved inside the root, flags by remount, propagation last.
#include "mounts.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "mount_fault.h"
#include "paths.h"
#include "transplant.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#define ATIME_FLAGS ((unsigned long)(MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME))
#define MOUNT_FLAGS ((unsigned long)(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW) | ATIME_FLAGS)

struct mount_request mount_request_of(const struct plan_op *op)
{
	return (struct mount_request){
		.source = op->field[0].data, .target = op->field[1].data, .type = op->field[2].data, .data = op->field[5].data,
		.flags = op->field[3].number, .propagation = op->field[4].number, .options = (unsigned)op->field[6].number, .source_fd = -1,
	};
}

// Does it take a path (and not a file system's name) as its source?
static int has_source(const struct mount_request *request)
{
	if (request->options & MOUNT_DETACH || request->flags & MS_REMOUNT)
		return 0;
	return request->flags & MS_BIND || request->options & MOUNT_MOVE;
}

static int has_type(const struct mount_request *request)
{
	return request->type[0] && strcmp(request->type, "none") != 0;
}

void mount_clone_source(struct mount_request *request)
{
	int fd;

	if (request->source_fd < 0 || !(request->flags & MS_BIND) || !(request->flags & MS_REC))
		return;
	// Linux 5.2 has it; before it, and where a filter denies it, the tree is copied late
	fd = transplant_take(request->source_fd, true);
	if (fd < 0)
		return;
	close(request->source_fd);
	request->source_fd = fd;
	request->cloned = true;
}

static int bind(const struct mount_request *request, const char *from, const char *to, int target)
{
	if (request->cloned)
		return transplant_put(request->source_fd, target);
	return mount(from, to, NULL, MS_BIND | (request->flags & MS_REC), NULL);
}

void mount_open_source(struct mount_request *request)
{
	if (!has_source(request) || request->options & MOUNT_INSIDE)
		return;
	// O_DIRECTORY first: with it the kernel mounts what an automounter keeps there (openat(2), O_PATH)
	request->source_fd = open(request->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (request->source_fd < 0 && errno == ENOTDIR)
		request->source_fd = open(request->source, O_PATH | O_CLOEXEC);
	request->source_error = request->source_fd < 0 ? errno : 0;
}

static unsigned long current_flags(int fd)
{
	static const struct { unsigned long st, ms; } table[] = {
		{ST_RDONLY, MS_RDONLY}, {ST_NOSUID, MS_NOSUID}, {ST_NODEV, MS_NODEV}, {ST_NOEXEC, MS_NOEXEC},
		{ST_NOATIME, MS_NOATIME}, {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME}, {0x2000, MS_NOSYMFOLLOW},
	};
	struct statvfs facts;
	unsigned long flags = 0;

	if (fstatvfs(fd, &facts) < 0)
		return 0;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (facts.f_flag & table[i].st)
			flags |= table[i].ms;
	}
	return flags;
}

// A bind remount replaces all flags, and in a user namespace the kernel refuses to drop those of the host: so what is there is added. ST_RDONLY may
// also come from the file system itself, where it does no harm. Time flags are kept unless others are asked for and granted.
static int set_flags(int fd, unsigned long wanted)
{
	char path[FD_PATH_SIZE];
	unsigned long now = current_flags(fd), times = wanted & ATIME_FLAGS ? wanted & ATIME_FLAGS : now & ATIME_FLAGS;
	unsigned long rest = (wanted | now) & MOUNT_FLAGS & ~ATIME_FLAGS;

	if ((rest | times) == now)
		return 0;
	fd_path(path, fd);
	if (mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | rest | times, NULL) == 0)
		return 0;
	if (errno != EPERM || times == (now & ATIME_FLAGS))
		return -1;
	return mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | rest | (now & ATIME_FLAGS), NULL);
}

int mount_restrict(int fd, unsigned long flags, const char *name, struct fault *why)
{
	return set_flags(fd, flags) < 0 ? mount_fault(why, errno, "remount", "restrict the mount on %s", name) : 0;
}

static int open_inside(const struct mount_request *request, int root, struct fault *why)
{
	int fd = path_resolve(root, request->source, 0);

	return fd < 0 ? mount_fault(why, errno, "bind", "find %s in the root filesystem", request->source) : fd;
}

// The mountpoint; created as asked for, auto: as the source is (a directory when there is none).
static int open_target(const struct mount_request *request, int source, int root, struct fault *why)
{
	struct stat facts;
	enum path_kind kind = request->options & MOUNT_CREATE_FILE ? PATH_MAKE_FILE : PATH_MAKE_DIR;
	int fd;

	if (request->options & MOUNT_CREATE_AUTO && source >= 0 && fstat(source, &facts) == 0 && !S_ISDIR(facts.st_mode))
		kind = PATH_MAKE_FILE;
	if (request->options & (MOUNT_CREATE_DIR | MOUNT_CREATE_FILE | MOUNT_CREATE_AUTO))
		fd = path_create(root, request->target, kind, kind == PATH_MAKE_DIR ? 0755 : 0644);
	else
		fd = path_resolve(root, request->target, 0);
	if (fd >= 0)
		return fd;
	mount_fault(why, errno, "target", "find the mountpoint %s in the root filesystem", request->target);
	if (why->error == ENOENT)
		fault_hint(why, "let it be made: x-create=dir, x-create=file or x-create=auto, with --rw where the root is read-only");
	return -1;
}

static int is_root(int fd, int root)
{
	struct stat one, other;

	return fstat(fd, &one) == 0 && fstat(root, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// What a path leads to after a mount on it: the descriptor from before still names what is covered.
static int open_mounted(const struct mount_request *request, int root, struct fault *why)
{
	int fd = path_resolve(root, request->target, 0);

	return fd < 0 ? fault(why, errno, "find the mount on %s again", request->target) : fd;
}

static int make_mount(const struct mount_request *request, int source, int target, struct fault *why)
{
	char from[FD_PATH_SIZE], to[FD_PATH_SIZE];
	unsigned long flags = request->flags & ~(unsigned long)MS_REC;

	fd_path(to, target);
	if (request->options & MOUNT_MOVE) {
		if (mount(fd_path(from, source), to, NULL, MS_MOVE, NULL) < 0)
			return mount_fault(why, errno, "move", "move the mount %s to %s", request->source, request->target);
	} else if (request->flags & MS_BIND) {
		if (bind(request, fd_path(from, source), to, target) < 0)
			return mount_fault(why, errno, "bind", "bind %s on %s", request->source, request->target);
	} else if (mount(request->source, to, request->type, flags, request->data[0] ? request->data : NULL) < 0) {
		return mount_fault(why, errno, request->type, "mount %s on %s (type %s)", request->source, request->target, request->type);
	}
	return 0;
}

static int remount(const struct mount_request *request, int target, struct fault *why)
{
	char path[FD_PATH_SIZE];

	// without data the flags belong to this mount alone; with data the file system itself is asked, which a user may do only with his own
	if (request->data[0] && !(request->flags & MS_BIND)) {
		if (mount(NULL, fd_path(path, target), NULL, (request->flags & ~(unsigned long)MS_REC) | MS_REMOUNT, request->data) < 0)
			return mount_fault(why, errno, "remount", "remount %s with %s", request->target, request->data);
		return 0;
	}
	// as asked for, which may lift restrictions of our own; where the host's are in the way, with those kept
	if (mount(NULL, fd_path(path, target), NULL, MS_BIND | MS_REMOUNT | (request->flags & MOUNT_FLAGS), NULL) == 0)
		return 0;
	if (errno != EPERM || set_flags(target, request->flags & MOUNT_FLAGS) < 0)
		return mount_fault(why, errno, "remount", "remount %s", request->target);
	return 0;
}

static int detach(const struct mount_request *request, int root, struct fault *why)
{
	char path[FD_PATH_SIZE];
	OWN_FD target = path_resolve(root, request->target, 0);

	if (target < 0)
		return mount_fault(why, errno, "umount", "find %s in the root filesystem", request->target);
	if (umount2(fd_path(path, target), MNT_DETACH) < 0)
		return mount_fault(why, errno, "umount", "unmount %s", request->target);
	return 0;
}

static int propagate(const struct mount_request *request, int target, struct fault *why)
{
	static const unsigned long kinds[] = {MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE};
	char path[FD_PATH_SIZE];

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (!(request->propagation & kinds[i]))
			continue;
		if (mount(NULL, fd_path(path, target), NULL, kinds[i] | (request->propagation & MS_REC), NULL) < 0)
			return mount_fault(why, errno, "remount", "set the propagation of %s", request->target);
	}
	return 0;
}

int mount_obey(const struct mount_request *request, int root, struct fault *why)
{
	OWN_FD inside = -1;
	OWN_FD target = -1;
	OWN_FD mounted = -1;
	int source = request->source_fd;

	if (request->options & MOUNT_DETACH)
		return detach(request, root, why);
	if (has_source(request) && request->options & MOUNT_INSIDE) {
		source = inside = open_inside(request, root, why);
		if (inside < 0)
			return -1;
	}
	if (request->source_error)
		return mount_fault(why, request->source_error, "source", "open %s, to be mounted on %s", request->source, request->target);
	target = open_target(request, source, root, why);
	if (target < 0)
		return -1;
	if (request->flags & MS_REMOUNT)
		return remount(request, target, why) < 0 ? -1 : propagate(request, target, why);
	if (has_source(request) || has_type(request)) {
		// it would cover the whole root, and none of the later paths would lead there
		if (is_root(target, root))
			return fault(why, EBUSY, "mount %s on the root directory", request->source);
		if (make_mount(request, source, target, why) < 0)
			return -1;
	} else if (!request->propagation) {
		return fault(why, EINVAL, "mount %s on %s: no file system type", request->source, request->target);
	}
	mounted = open_mounted(request, root, why);
	if (mounted < 0)
		return -1;
	if (has_source(request) && request->flags & MOUNT_FLAGS && set_flags(mounted, request->flags & MOUNT_FLAGS) < 0)
		return mount_fault(why, errno, "remount", "set the flags of %s", request->target);
	return propagate(request, mounted, why);
}
