// SPDX-License-Identifier: Apache-2.0
// Starting the file server as a process that nobody has to wait for.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "detach.h"
#include "serve_order.h"
#include "serve_parts.h"

// A copy of a descriptor that is none of 0, 1 and 2, which detach_settle sets anew.
static int lift(int fd)
{
	return fd > STDERR_FILENO ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

// As many CPUs as the cpuset allows: the kernel leaves out the others (sched_setaffinity(2)).
static void widen_affinity(void)
{
	enum { CPUS = 8192 };
	static unsigned long all[CPUS / (8 * sizeof(unsigned long))];

	memset(all, 0xff, sizeof all);
	syscall(SYS_sched_setaffinity, 0, sizeof all, all);
}

// The descriptors of the keeper, lifted. 0 or -1.
static int lift_keeper(struct keeper *keeper)
{
	keeper->dir = lift(keeper->dir);
	keeper->listener = lift(keeper->listener);
	keeper->control = lift(keeper->control);
	return keeper->dir < 0 || keeper->listener < 0 || keeper->control < 0 ? -1 : 0;
}

_Noreturn static void live(const struct serve_config *config, int socket, bool await_order)
{
	struct serve_config own = *config;
	struct keeper keeper = KEEPER_NONE;
	int kept[] = { lift(config->file), lift(socket), -1, -1, -1 };

	if (kept[0] < 0 || kept[1] < 0)
		_exit(1);
	if (config->keeper) {
		keeper = *config->keeper;
		own.keeper = lift_keeper(&keeper) == 0 ? &keeper : NULL;
		kept[2] = keeper.dir;
		kept[3] = keeper.listener;
		kept[4] = keeper.control;
	}
	detach_settle("bundler-fs", kept, sizeof kept / sizeof *kept);
	widen_affinity();
	own.file = kept[0];
	serve_run(&own, kept[1], await_order);
}

static int start(const struct serve_config *config, bool await_order, struct fault *why)
{
	int pair[2], side;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return fault(why, errno, "make a socket for the file server");
	side = detach_fork(why);
	if (side == 0)
		live(config, pair[1], await_order);
	close(pair[1]);
	if (side > 0)
		return pair[0];
	close(pair[0]);
	return -1;
}

int serve_start(const struct serve_config *config, struct fault *why)
{
	return start(config, false, why);
}

int serve_prepare(int file, uint64_t offset, uint64_t size)
{
	const struct serve_config config = { .file = file, .offset = offset, .size = size };
	struct fault ignored;

	return start(&config, true, &ignored);
}

int serve_order(int socket, const struct serve_config *config)
{
	return config->cache_bytes ? -1 : serve_order_send(socket, config);
}
