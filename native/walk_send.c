// SPDX-License-Identifier: Apache-2.0
// The records of a walk.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "walk_inside.h"

// What the attributes of an entry may take: an image can have the same large value in thousands of them, and a record's length is of 32 bits.
enum { BUFFER = 256 << 10, COPIED = 16 << 10, MAX_XATTRS = 65535, MAX_XATTR_BYTES = 64 << 20 };
enum { OP_ENTRY = 1, OP_LINK, OP_DATA, OP_END };

struct record { uint32_t size; uint8_t op; } __attribute__((packed));
struct entry {
	struct record record;
	uint8_t type;
	uint16_t mode;
	uint32_t uid, gid;
	int64_t mtime;
	uint64_t size;
	uint32_t nlink;
	uint64_t identity;
	uint32_t major, minor;
} __attribute__((packed));

int walk_begin(struct walk *walk, int output, struct fault *why) {
	*walk = (struct walk){ .output = output, .why = why, .out = malloc(BUFFER), .path = calloc(1, 256), .path_room = 256 };
	return walk->out && walk->path ? 0 : fault(why, ENOMEM, "read the tree");
}

void walk_release(struct walk *walk) {
	free(walk->out);
	free(walk->path);
	free(walk->seen.slot);
	buffer_free(&walk->xattrs);
}

// The gathered bytes and those behind them.
static int flush(struct walk *walk, const void *data, size_t size) {
	struct iovec part[2] = { { walk->out, walk->filled }, { size ? (void *)(uintptr_t)data : walk->out, size } };
	walk->filled = 0;
	while (part[0].iov_len || part[1].iov_len) {
		ssize_t done = writev(walk->output, part, 2);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return fault(walk->why, errno, "send the tree");
		for (int i = 0; i < 2; i++) {
			size_t taken = (size_t)done < part[i].iov_len ? (size_t)done : part[i].iov_len;
			part[i].iov_base = (char *)part[i].iov_base + taken;
			part[i].iov_len -= taken;
			done -= (ssize_t)taken;
		}
	}
	return 0;
}

int walk_send(struct walk *walk, const void *data, size_t size) {
	if (size > COPIED)
		return flush(walk, data, size);
	if (size > BUFFER - walk->filled && flush(walk, NULL, 0))
		return -1;
	if (size)
		memcpy(walk->out + walk->filled, data, size);
	walk->filled += size;
	return 0;
}

int walk_send_data(struct walk *walk, size_t size) {
	struct record record = { (uint32_t)size + 1, OP_DATA };
	return walk_send(walk, &record, sizeof record);
}

int walk_end(struct walk *walk) {
	struct { struct record record; uint32_t skipped; } __attribute__((packed)) end = { { 5, OP_END }, walk->skipped };
	return walk_send(walk, &end, sizeof end) || flush(walk, NULL, 0) ? -1 : 0;
}

int walk_enter(struct walk *walk, const char *name) {
	size_t size = strlen(name), wanted = walk->path_size + 1 + size + 1;
	if (wanted > walk->path_room) {
		char *path = realloc(walk->path, wanted * 2);
		if (!path)
			return fault(walk->why, ENOMEM, "read the tree");
		walk->path = path;
		walk->path_room = wanted * 2;
	}
	if (walk->path_size)
		walk->path[walk->path_size++] = '/';
	memcpy(walk->path + walk->path_size, name, size + 1);
	walk->path_size += size;
	return 0;
}

void walk_leave(struct walk *walk, size_t path_size) {
	walk->path_size = path_size;
	walk->path[path_size] = 0;
}

int walk_fault(struct walk *walk, int error, const char *what) {
	char shown[256];
	size_t size = walk->path_size < sizeof shown ? walk->path_size : sizeof shown - 1;
	// The end of a long path tells most; what does not print may not steer a terminal.
	const char *from = walk->path + walk->path_size - size;
	memcpy(shown, from, size);
	shown[size] = 0;
	hide_controls(shown);
	return fault(walk->why, error, "%s /%s", what, shown);
}

int walk_identify(struct walk *walk, uint64_t inode, uint64_t device, uint64_t *identity, int *before) {
	struct key key;
	memcpy(key.bytes, &inode, 8);
	memcpy(key.bytes + 8, &device, 8);
	struct known *known = known_note(&walk->seen, &key, before);
	if (!known)
		return fault(walk->why, ENOMEM, "read the tree");
	if (!*before)
		known->place = ++walk->identities;
	*identity = known->place;
	return 0;
}

int walk_add_xattr(struct walk *walk, const char *name, const void *value, size_t size) {
	struct { uint16_t name; uint32_t value; } __attribute__((packed)) head = { (uint16_t)strlen(name), (uint32_t)size };
	if (walk->xattr_count == MAX_XATTRS || walk->xattrs.size + sizeof head + head.name + size > MAX_XATTR_BYTES)
		return walk_fault(walk, 0, "there is no room for more than 64 MiB of attributes of");
	walk->xattr_count++;
	buffer_add(&walk->xattrs, &head, sizeof head);
	buffer_add(&walk->xattrs, name, head.name);
	buffer_add(&walk->xattrs, value, size);
	return 0;
}

static uint8_t type_of(mode_t mode) {
	switch (mode & S_IFMT) {
	case S_IFREG: return 1;
	case S_IFDIR: return 2;
	case S_IFLNK: return 3;
	case S_IFCHR: return 4;
	case S_IFBLK: return 5;
	case S_IFIFO: return 6;
	default: return 7;
	}
}

int walk_send_entry(struct walk *walk, const struct stat *st, uint64_t identity, int is_link, const char *target, size_t target_size) {
	uint32_t path_size = (uint32_t)walk->path_size, link_size = (uint32_t)target_size;
	int is_device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
	size_t size = sizeof(struct entry) + 4 + path_size + 4 + link_size + 2 + walk->xattrs.size;
	struct entry entry = {
		.record = { (uint32_t)(size - sizeof(uint32_t)), is_link ? OP_LINK : OP_ENTRY }, .type = type_of(st->st_mode),
		.mode = st->st_mode & 07777, .uid = st->st_uid, .gid = st->st_gid, .mtime = st->st_mtim.tv_sec,
		.size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0, .nlink = (uint32_t)st->st_nlink, .identity = identity,
		.major = is_device ? major(st->st_rdev) : 0, .minor = is_device ? minor(st->st_rdev) : 0,
	};
	int failed = walk_send(walk, &entry, sizeof entry) || walk_send(walk, &path_size, sizeof path_size)
		|| walk_send(walk, walk->path, path_size) || walk_send(walk, &link_size, sizeof link_size)
		|| walk_send(walk, target, target_size) || walk_send(walk, &walk->xattr_count, sizeof walk->xattr_count)
		|| walk_send(walk, walk->xattrs.data, walk->xattrs.size);
	walk->xattrs.size = 0;
	walk->xattr_count = 0;
	return failed ? -1 : 0;
}
