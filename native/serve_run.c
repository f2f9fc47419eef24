// SPDX-License-Identifier: Apache-2.0
// The server's life: open the image, say so, receive the connection, serve it with several threads, end with the mount.
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "passing.h"
#include "serve_order.h"
#include "serve_parts.h"

#define DEFAULT_CACHE_BYTES (32ull << 20)
#define MIN_STACK_BYTES (256u << 10)   // a decompressor's state is on the heap

static int serve_one(struct server *server)
{
	struct worker worker = {
		.server = server,
		.reader = image_reader_new(server->image),
		.request = malloc(SERVE_REQUEST_BYTES),
		.reply = malloc(SERVE_LIST_BYTES),
	};
	int ok = worker.reader && worker.request && worker.reply;

	if (ok)
		serve_loop(&worker);
	else {
		image_reader_free(worker.reader);
		free(worker.request);
		free(worker.reply);
	}
	return ok;
}

static void *serve_beside(void *server)
{
	// The connection's end is every thread's; without memory this thread does without.
	if (serve_one(server))
		_exit(0);
	return NULL;
}

static unsigned count_cpus(void)
{
	unsigned long mask[8192 / (8 * sizeof(unsigned long))];
	long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
	unsigned count = 0;

	for (size_t i = 0; bytes > 0 && i < (size_t)bytes / sizeof *mask; i++)
		count += (unsigned)__builtin_popcountl(mask[i]);
	return count > 0 ? count : 1;
}

// Starts all threads but the first; a limit on processes may leave us with fewer.
static void start_threads(struct server *server, unsigned wanted)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, MIN_STACK_BYTES);
	for (unsigned i = 1; i < wanted && pthread_create(&thread, &attr, serve_beside, server) == 0; i++)
		;
	pthread_attr_destroy(&attr);
}

// The connection's descriptor; -1 when the caller has gone.
static int receive_descriptor(int socket)
{
	char byte;
	int fd;

	pass_receive(socket, &byte, sizeof byte, &fd, 1);
	return fd;
}

static int open_image(struct server *server, const struct serve_config *config, struct fault *why)
{
	uint64_t cache_bytes = config->cache_bytes ? config->cache_bytes : DEFAULT_CACHE_BYTES;

	return image_open(&server->image, config->file, config->offset, config->size, cache_bytes, why);
}

static int add_entries(struct server *server, const struct serve_config *config, struct fault *why)
{
	struct image_reader *reader = image_reader_new(server->image);
	int failed;

	if (!reader)
		return fault(why, ENOMEM, "open the image");
	failed = tree_build(&server->tree, server->image, reader, config->entry, config->entry_count, why);
	image_reader_free(reader);
	return failed;
}

// While the other side mounts, and before there are threads.
static void share(struct keeper keeper, bool is_ready)
{
	if (is_ready)
		keeper_start(&keeper);
	else
		keeper_give_up(&keeper);
}

void serve_run(const struct serve_config *given, int socket, bool await_order)
{
	static struct server server;   // outlives this function's frame for the other threads
	struct serve_config own = *given, *config = &own;
	struct keeper keeper = KEEPER_NONE;
	struct serve_status status = { .failed = 0 };
	unsigned threads;
	ssize_t put;

	// One arena: each further one reserves 64 MiB of address space, which `ulimit -v` counts.
	mallopt(M_ARENA_MAX, 1);
	status.failed = open_image(&server, config, &status.why) != 0;
	if (await_order && serve_order_receive(socket, config, &keeper) < 0)
		_exit(0);
	threads = config->threads ? config->threads : count_cpus();
	server.uid = config->uid;
	server.gid = config->gid;
	server.image_owners = config->image_owners;
	status.failed = status.failed || add_entries(&server, config, &status.why) != 0;
	put = send(socket, &status, sizeof status, MSG_NOSIGNAL);
	if (config->keeper)
		share(*config->keeper, put > 0 && !status.failed);
	if (put < 0 || status.failed)
		_exit(status.failed);
	server.fuse = receive_descriptor(socket);
	if (server.fuse < 0)
		_exit(0);
	close(socket);
	start_threads(&server, threads < SERVE_MAX_THREADS ? threads : SERVE_MAX_THREADS);
	_exit(serve_one(&server) ? 0 : 1);
}
