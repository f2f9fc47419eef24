// SPDX-License-Identifier: Apache-2.0
// Directories of ours on the host: which there may be, and whether one can really be used.
#include "dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct fs_type { uint32_t magic; const char *name; int network; };

// f_type of statfs(2), with the numbers of linux/magic.h and of the file systems' own sources.
static const struct fs_type fs_types[] = {
	{ 0x0000EF53, "ext4", 0 }, { 0x58465342, "xfs", 0 }, { 0x9123683E, "btrfs", 0 }, { 0x01021994, "tmpfs", 0 },
	{ 0x794C7630, "overlay", 0 }, { 0x2FC12FC1, "zfs", 0 }, { 0xF2F52010, "f2fs", 0 }, { 0x858458F6, "ramfs", 0 },
	{ 0x73717368, "squashfs", 0 }, { 0x4D44, "vfat", 0 }, { 0x2011BAB0, "exfat", 0 }, { 0x5346544E, "ntfs", 0 },
	{ 0xCA451A4E, "bcachefs", 0 }, { 0x6969, "nfs", 1 }, { 0x0BD00BD0, "lustre", 1 }, { 0x47504653, "gpfs", 1 },
	{ 0xFF534D42, "cifs", 1 }, { 0xFE534D42, "smb2", 1 }, { 0x517B, "smb", 1 }, { 0x5346414F, "afs", 1 },
	{ 0x6B414653, "afs", 1 }, { 0x01021997, "9p", 1 }, { 0x65735546, "fuse", 1 }, { 0x00C36400, "ceph", 1 },
	{ 0x19830326, "beegfs", 1 }, { 0xAAD7AAEA, "panfs", 1 }, { 0x20030528, "orangefs", 1 }, { 0x73757245, "coda", 1 },
	{ 0x7461636F, "ocfs2", 1 }, { 0x01161970, "gfs2", 1 }, { 0x786F4256, "vboxsf", 1 },
};

static const struct fs_type *find_fs_type(uint32_t magic)
{
	for (size_t i = 0; i < sizeof fs_types / sizeof *fs_types; i++)
		if (fs_types[i].magic == magic)
			return &fs_types[i];
	return NULL;
}

// Whether the nearest existing directory at or above path lies on a network file system.
static int is_on_network(const char *path)
{
	char above[4096];
	struct statfs fs;
	snprintf(above, sizeof above, "%s", path);
	while (statfs(above, &fs)) {
		char *slash = strrchr(above, '/');
		if (!slash || slash == above)
			return 0;
		*slash = 0;
	}
	const struct fs_type *type = find_fs_type((uint32_t)fs.f_type);
	return type && type->network;
}

// Adds "BASE/NAME", without trailing slashes (they would follow a symlink), unless it is too long or already there.
__attribute__((format(printf, 2, 3))) static void add_candidate(struct dirs *dirs, const char *format, ...)
{
	char path[4096];
	va_list args;
	va_start(args, format);
	int size = vsnprintf(path, sizeof path, format, args);
	va_end(args);
	if (dirs->count == DIRS_MAX || size <= 0 || size >= (int)sizeof path)
		return;
	while (size > 1 && path[size - 1] == '/')
		path[--size] = 0;
	for (size_t i = 0; i < dirs->count; i++)
		if (!strcmp(dirs->path[i], path))
			return;
	memcpy(dirs->path[dirs->count++], path, (size_t)size + 1);
}

static const char *get_absolute(const char *variable)
{
	const char *value = getenv(variable);
	return value && *value == '/' ? value : NULL;
}

// A home that is missing or somebody else's (sudo with the caller's HOME) is left alone.
static int is_own_directory(const char *path)
{
	struct stat st;
	return !stat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

void dirs_candidates(struct dirs *dirs)
{
	const char *chosen = getenv("BUNDLER_CACHE_DIR");
	dirs->count = 0;
	if (chosen && *chosen == '/') {
		add_candidate(dirs, "%s", chosen);
		return;
	}
	if (chosen && *chosen) {
		char cwd[PATH_MAX];
		if (getcwd(cwd, sizeof cwd))
			add_candidate(dirs, "%s/%s", cwd, chosen);
		return;
	}
	struct dirs all = { .count = 0 };
	unsigned uid = geteuid();
	const char *cache = get_absolute("XDG_CACHE_HOME"), *home = get_absolute("HOME"), *runtime = get_absolute("XDG_RUNTIME_DIR");
	if (cache)
		add_candidate(&all, "%s/bundler", cache);
	else if (home && is_own_directory(home))
		add_candidate(&all, "%s/.cache/bundler", home);
	add_candidate(&all, "/var/tmp/bundler-%u", uid);
	add_candidate(&all, "/tmp/bundler-%u", uid);
	if (runtime)
		add_candidate(&all, "%s/bundler-%u", runtime, uid);
	int network[DIRS_MAX];
	for (size_t i = 0; i < all.count; i++)
		network[i] = is_on_network(all.path[i]);
	for (int far = 0; far <= 1; far++)
		for (size_t i = 0; i < all.count; i++)
			if (network[i] == far)
				add_candidate(dirs, "%s", all.path[i]);
}

static int fail(struct dir_fact *fact, const char *step, int error)
{
	fact->step = step;
	fact->error = error;
	return -1;
}

static void make_parents(const char *path)
{
	char part[4096];
	size_t size = strlen(path);
	if (size >= sizeof part)
		return;
	memcpy(part, path, size + 1);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(part, 0700);
		*slash = '/';
	}
}

// Opens path as an O_PATH descriptor, made 0700 when missing. A umask is not allowed to take our own rights away.
static int open_or_make(const char *path, struct dir_fact *fact)
{
	int dir = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 || errno != ENOENT)
		return dir >= 0 ? dir : fail(fact, "create", errno);
	make_parents(path);
	if (!mkdir(path, 0700)) {
		struct stat st;
		if (!lstat(path, &st) && S_ISDIR(st.st_mode) && (st.st_mode & 0700) != 0700)
			(void)!chmod(path, 0700);
	} else if (errno != EEXIST) {
		return fail(fact, "create", errno);
	}
	dir = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return dir >= 0 ? dir : fail(fact, "create", errno);
}

static const char *name_write_error(int error)
{
	return error == ENOSPC ? "space" : error == EDQUOT ? "quota" : "write";
}

// A file without a name, else one that is unlinked at once (NFS and old kernels have no O_TMPFILE).
static int open_scratch(int dir)
{
	char name[64];
	int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || errno == ENOSPC || errno == EDQUOT || errno == EROFS || errno == EACCES)
		return fd;
	for (unsigned attempt = 0; attempt < 100; attempt++) {
		snprintf(name, sizeof name, ".probe-%ld-%u", (long)getpid(), attempt);
		fd = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlinkat(dir, name, 0);
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	return -1;
}

// Allocates the bytes for real, because free space as statvfs tells it knows nothing of quotas. Where the file system cannot allocate
// (NFS 3, ZFS) a mebibyte is written, which finds a quota that is used up.
static int allocate(int fd, uint64_t need_bytes)
{
	static const char zeros[65536];
	int result;
	do
		result = fallocate(fd, 0, 0, (off_t)need_bytes);
	while (result && errno == EINTR);
	if (!result || (errno != EOPNOTSUPP && errno != ENOSYS))
		return result;
	uint64_t want = need_bytes < (1u << 20) ? need_bytes : 1u << 20;
	for (uint64_t at = 0; at < want;) {
		ssize_t done = write(fd, zeros, want - at < sizeof zeros ? want - at : sizeof zeros);
		if (done < 0 && errno != EINTR)
			return -1;
		at += done > 0 ? (uint64_t)done : 0;
	}
	return fdatasync(fd) && errno != EINVAL ? -1 : 0;
}

static int try_writing(int dir, uint64_t need_bytes, struct dir_fact *fact)
{
	struct rlimit limit;
	// Allocating past RLIMIT_FSIZE would raise SIGXFSZ, which kills.
	if (need_bytes && !getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < need_bytes)
		return fail(fact, "write", EFBIG);
	OWN_FD fd = open_scratch(dir);
	if (fd < 0 || (need_bytes && allocate(fd, need_bytes)))
		return fail(fact, name_write_error(errno), errno);
	return 0;
}

int dir_measure(int dir, uint64_t need_bytes, struct dir_fact *fact)
{
	struct statfs fs;
	*fact = (struct dir_fact){ .step = "" };
	if (fstatfs(dir, &fs))
		return fail(fact, "create", errno);
	const struct fs_type *type = find_fs_type((uint32_t)fs.f_type);
	if (type)
		snprintf(fact->fstype, sizeof fact->fstype, "%s", type->name);
	else
		snprintf(fact->fstype, sizeof fact->fstype, "0x%lx", (unsigned long)(uint32_t)fs.f_type);
	fact->network = type && type->network;
	fact->free_bytes = (uint64_t)fs.f_bavail * (uint64_t)(fs.f_frsize ? fs.f_frsize : fs.f_bsize);
	// statfs tells mount flags with the same bits as statvfs (since Linux 2.6.36).
	fact->executable = !(fs.f_flags & ST_NOEXEC);
	if (fs.f_flags & ST_RDONLY)
		return fail(fact, "write", EROFS);
	if (faccessat(dir, ".", W_OK | X_OK, AT_EACCESS))
		return fail(fact, "write", errno);
	if (fact->free_bytes < need_bytes)
		return fail(fact, "space", ENOSPC);
	return need_bytes ? try_writing(dir, need_bytes, fact) : 0;
}

int dir_probe(const char *path, uint64_t need_bytes, struct dir_fact *fact)
{
	struct stat st;
	*fact = (struct dir_fact){ .step = "" };
	OWN_FD dir = open_or_make(path, fact);
	if (dir < 0)
		return -1;
	if (fstat(dir, &st))
		return fail(fact, "create", errno);
	if (S_ISLNK(st.st_mode))
		return fail(fact, "symlink", ELOOP);
	if (!S_ISDIR(st.st_mode))
		return fail(fact, "create", ENOTDIR);
	if (st.st_uid != geteuid())
		return fail(fact, "owner", EPERM);
	// Others who may write here could swap what we put in, unless the sticky bit forbids it.
	if ((st.st_mode & 022) && !(st.st_mode & S_ISVTX))
		return fail(fact, "mode", EPERM);
	if (dir_measure(dir, need_bytes, fact))
		return -1;
	int taken = dir;
	dir = -1;
	return taken;
}
