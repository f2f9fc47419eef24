// SPDX-License-Identifier: Apache-2.0
// Speaks to the server's loop over a socket in the kernel's place: an old kernel that cannot do without OPEN, and requests that no sound
// kernel sends. Usage: serve-protocol IMAGE, whose root holds a file `text`. Prints what went wrong; silence and 0 is success.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../../native/serve_parts.h"

static int kernel;   // our end
static char answer[1 << 20];
static size_t answer_size;

#define CHECK(condition) do { if (!(condition)) die(0, "line %d: %s", __LINE__, #condition); } while (0)

static void *serve(void *worker)
{
	serve_loop(worker);
	return NULL;
}

// Sends a request and receives its answer. Returns the answer's error; its data is in answer.
static int ask(uint32_t opcode, uint64_t node, const void *body, size_t size)
{
	static uint64_t unique = 100;
	char request[4096];
	struct fuse_in_header head = { .len = (uint32_t)(sizeof head + size), .opcode = opcode, .unique = ++unique, .nodeid = node };
	struct fuse_out_header *out = (struct fuse_out_header *)answer;
	ssize_t got;

	memcpy(request, &head, sizeof head);
	if (size > 0)
		memcpy(request + sizeof head, body, size);
	if (send(kernel, request, sizeof head + size, 0) < 0)
		die(errno, "send");
	got = recv(kernel, answer, sizeof answer, 0);
	CHECK(got >= (ssize_t)sizeof *out);
	CHECK(out->unique == unique && out->len == (size_t)got);
	answer_size = (size_t)got - sizeof *out;
	CHECK(out->error == 0 || answer_size == 0);
	return out->error;
}

static const void *data(void)
{
	return answer + sizeof(struct fuse_out_header);
}

static void start(const char *path)
{
	static struct server server;
	static struct worker worker = { .server = &server };
	struct serve_entry entry = { .kind = 2, .mode = 0600, .path = "/added", .data = "synthetic", .size = 9 };
	struct fault why;
	struct stat status;
	pthread_t thread;
	int pair[2], file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0 || fstat(file, &status) != 0)
		die(errno, "open %s", path);
	if (image_open(&server.image, file, 0, (uint64_t)status.st_size, 1 << 20, &why) != 0)
		fault_die(&why, 1);
	worker.reader = image_reader_new(server.image);
	worker.request = malloc(SERVE_REQUEST_BYTES);
	worker.reply = malloc(SERVE_LIST_BYTES);
	CHECK(worker.reader && worker.request && worker.reply);
	if (tree_build(&server.tree, server.image, worker.reader, &entry, 1, &why) != 0)
		fault_die(&why, 1);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	kernel = pair[0];
	server.fuse = pair[1];
	CHECK(pthread_create(&thread, NULL, serve, &worker) == 0);
}

static void check_init(void)
{
	struct fuse_init_in offer = { .major = 8, .minor = 0 };
	const struct fuse_init_out *out = data();

	CHECK(ask(FUSE_INIT, 0, &offer, 16) == 0 && out->major == 7);
	offer = (struct fuse_init_in){ .major = 7, .minor = 8 };
	CHECK(ask(FUSE_INIT, 0, &offer, 16) == -EPROTO);
	// As Linux 3.10 offers: 16 bytes, no NO_OPEN_SUPPORT; its answer has 24.
	offer = (struct fuse_init_in){ .major = 7, .minor = 22, .max_readahead = 131072, .flags = FUSE_ASYNC_READ | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO };
	CHECK(ask(FUSE_INIT, 0, &offer, 16) == 0 && answer_size == FUSE_COMPAT_22_INIT_OUT_SIZE);
	CHECK(out->flags == (FUSE_ASYNC_READ | FUSE_DO_READDIRPLUS) && out->max_readahead == 131072);
}

static uint64_t find(const char *name)
{
	const struct fuse_entry_out *entry = data();

	CHECK(ask(FUSE_LOOKUP, FUSE_ROOT_ID, name, strlen(name) + 1) == 0);
	return entry->nodeid;
}

static void check_old_open(void)
{
	struct fuse_open_in open_in = { .flags = O_RDONLY };
	struct fuse_read_in read_in = { .offset = 4, .size = 5 };
	struct fuse_release_in release_in = { .fh = 0 };
	const struct fuse_open_out *opened = data();
	uint64_t text = find("text"), added = find("added");

	CHECK(text != 0 && added != 0 && find("absent") == 0);
	CHECK(ask(FUSE_OPEN, text, &open_in, sizeof open_in) == 0 && opened->open_flags == FOPEN_KEEP_CACHE);
	CHECK(ask(FUSE_READ, text, &read_in, sizeof read_in) == 0 && answer_size == 5 && memcmp(data(), "quick", 5) == 0);
	CHECK(ask(FUSE_READ, added, &read_in, sizeof read_in) == 0 && answer_size == 5 && memcmp(data(), "hetic", 5) == 0);
	CHECK(ask(FUSE_RELEASE, text, &release_in, sizeof release_in) == 0);
	open_in.flags = O_RDWR;
	CHECK(ask(FUSE_OPEN, text, &open_in, sizeof open_in) == -EROFS);
	CHECK(ask(FUSE_OPENDIR, FUSE_ROOT_ID, &open_in, sizeof open_in) == 0 && (opened->open_flags & FOPEN_CACHE_DIR));
	CHECK(ask(FUSE_RELEASEDIR, FUSE_ROOT_ID, &release_in, sizeof release_in) == 0);
}

static void check_new_open(void)
{
	struct fuse_init_in offer = { .major = 7, .minor = 31, .flags = FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_MAX_PAGES };
	struct fuse_open_in open_in = { .flags = O_RDONLY };
	const struct fuse_init_out *out = data();

	CHECK(ask(FUSE_INIT, 0, &offer, sizeof offer) == 0 && answer_size == sizeof *out && out->flags == offer.flags && out->max_pages == 256);
	CHECK(ask(FUSE_OPEN, FUSE_ROOT_ID, &open_in, sizeof open_in) == -ENOSYS);
	CHECK(ask(FUSE_OPENDIR, FUSE_ROOT_ID, &open_in, sizeof open_in) == -ENOSYS);
}

// Every one must be answered with an error or with something harmless, and the server must go on.
static void check_nonsense(void)
{
	static const uint64_t nodes[] = { 0, 2, 3, 77, 1ull << 40, (1ull << 48) + 1, ~0ull >> 1, 1ull << 63, (1ull << 63) + 1, ~0ull };
	static const uint64_t offsets[] = { 0, 1, 5000, 1ull << 32, ~0ull >> 1, ~0ull };
	char zero[128] = { 0 };

	for (size_t n = 0; n < sizeof nodes / sizeof *nodes; n++) {
		for (uint32_t opcode = 1; opcode < 60; opcode++)
			if (opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INIT)
				for (size_t size = 0; size <= sizeof zero; size += 8)
					ask(opcode, nodes[n], zero, size);
		for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
			struct fuse_read_in in = { .offset = offsets[i], .size = 4096 };
			ask(FUSE_READ, nodes[n], &in, sizeof in);
			ask(FUSE_READDIRPLUS, n % 2 ? nodes[n] : FUSE_ROOT_ID, &in, sizeof in);
			ask(FUSE_READDIR, n % 2 ? nodes[n] : FUSE_ROOT_ID, &in, sizeof in);
		}
	}
	CHECK(ask(FUSE_READ, find("text"), &(struct fuse_read_in){ .size = 2 << 20 }, sizeof(struct fuse_read_in)) == -EINVAL);
	CHECK(ask(FUSE_LOOKUP, FUSE_ROOT_ID, memset(zero, 'x', sizeof zero), sizeof zero) == 0);
	CHECK(ask(FUSE_WRITE, find("text"), zero, 64) == -EROFS);
	CHECK(ask(FUSE_GETXATTR, find("text"), zero, 64) == -ENOSYS);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	start(argv[1]);
	check_init();
	check_old_open();
	check_nonsense();
	check_new_open();
	return 0;
}
