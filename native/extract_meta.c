// SPDX-License-Identifier: Apache-2.0
// Owners, attributes, modes and times. Order matters: chown drops set-id bits and capabilities, writing drops capabilities, so both come before.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "extract_inside.h"

#define SET_ID_BITS 06000u

struct target { int fd; const char *path; uint64_t skipped; int error; char kept[256]; };

static int set_xattr(void *arg, const char *name, const void *value, size_t size) {
	struct target *target = arg;
	int status = target->path ? lsetxattr(target->path, name, value, size, 0) : fsetxattr(target->fd, name, value, size, 0);
	if (!status)
		return 0;
	if (errno == EPERM || errno == EACCES || errno == EOPNOTSUPP || errno == EINVAL || errno == E2BIG || errno == ERANGE) {
		target->skipped++;
		return 0;
	}
	target->error = errno;
	snprintf(target->kept, sizeof target->kept, "%s", name);
	return 1;
}

static int copy_xattrs(struct extraction *run, struct image_reader *reader, uint64_t ref, struct target *target,
		const struct place *place, const char *name) {
	int error = image_xattrs(reader, ref, set_xattr, target);
	if (error)
		return extract_fail(run, -error, place, name, 0, "read attributes from the image");
	if (target->error)
		return extract_fail(run, target->error, place, name, 0, "set attribute %s", target->kept);
	if (target->skipped) {
		pthread_mutex_lock(&run->lock);
		run->report->skipped_xattrs += target->skipped;
		pthread_mutex_unlock(&run->lock);
	}
	return 0;
}

int finish_fd(struct extraction *run, struct image_reader *reader, int fd, uint64_t ref, const struct place *place, const char *name) {
	struct image_node node;
	struct target target = { .fd = fd };
	int error = image_stat(reader, ref, &node);
	if (error)
		return extract_fail(run, -error, place, name, 0, "read from the image");
	if (run->options->keep_owners && fchown(fd, node.uid, node.gid))
		return extract_fail(run, errno, place, name, 0, "set owner %u:%u", node.uid, node.gid);
	if (copy_xattrs(run, reader, ref, &target, place, name))
		return -1;
	mode_t mode = node.mode & 07777;
	// Some file systems refuse set-id bits to ordinary users; the file is of use without them.
	if (fchmod(fd, mode) && (errno != EPERM || !(mode & SET_ID_BITS) || fchmod(fd, mode & ~SET_ID_BITS)))
		return extract_fail(run, errno, place, name, 0, "set mode %o", mode);
	struct timespec times[2] = { { .tv_sec = node.mtime }, { .tv_sec = node.mtime } };
	if (futimens(fd, times))
		return extract_fail(run, errno, place, name, 0, "set times");
	return 0;
}

int finish_name(struct extraction *run, struct image_reader *reader, const struct image_node *node, const struct place *place, const char *name) {
	char path[64 + 256];
	struct target target = { .path = path };
	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", place->fd, name);
	if (run->options->keep_owners && fchownat(place->fd, name, node->uid, node->gid, AT_SYMLINK_NOFOLLOW))
		return extract_fail(run, errno, place, name, 0, "set owner %u:%u", node->uid, node->gid);
	if (copy_xattrs(run, reader, node->ref, &target, place, name))
		return -1;
	// Links have no mode. The name is one that we have just made and is no link, so that nothing is followed.
	if (!S_ISLNK(node->mode) && fchmodat(place->fd, name, node->mode & 07777, 0))
		return extract_fail(run, errno, place, name, 0, "set mode %o", node->mode & 07777);
	struct timespec times[2] = { { .tv_sec = node->mtime }, { .tv_sec = node->mtime } };
	if (utimensat(place->fd, name, times, AT_SYMLINK_NOFOLLOW))
		return extract_fail(run, errno, place, name, 0, "set times");
	return 0;
}
