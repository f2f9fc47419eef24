// SPDX-License-Identifier: Apache-2.0
#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "roles.h"

static const char magic[] = "BNDLROLE";
enum { MAGIC_SIZE = 8, PATIENCE_MS = 10000 };

// Looks at the first bytes without taking them from a stranger's pipe: the variable alone means nothing.
static int holds_magic(int fd)
{
	char head[MAGIC_SIZE];
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct stat st;
	if (fstat(fd, &st) || poll(&ready, 1, PATIENCE_MS) != 1)
		return 0;
	if (S_ISSOCK(st.st_mode))
		return recv(fd, head, sizeof head, MSG_PEEK | MSG_WAITALL) == MAGIC_SIZE && !memcmp(head, magic, MAGIC_SIZE);
	int copy[2], found = 0;
	if (!S_ISFIFO(st.st_mode) || pipe2(copy, O_CLOEXEC))
		return 0;
	if (tee(fd, copy[1], MAGIC_SIZE, SPLICE_F_NONBLOCK) == MAGIC_SIZE && !read_exactly(copy[0], head, MAGIC_SIZE, -1))
		found = !memcmp(head, magic, MAGIC_SIZE);
	close(copy[0]);
	close(copy[1]);
	return found;
}

const char *role_fact(const struct buffer *facts, const char *key)
{
	struct fact fact;
	for (size_t at = 0; facts_next(facts->data, facts->size, &at, &fact) == 1;)
		if (fact.key_size == strlen(key) && !memcmp(fact.key, key, fact.key_size))
			return strndup(fact.value, fact.value_size);
	return NULL;
}

int role_number(const struct buffer *facts, const char *key, uint64_t *value)
{
	OWN const char *text = role_fact(facts, key);
	char *end = NULL;
	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return *end || errno ? -1 : 0;
}

void take_role(void)
{
	const char *name = getenv("BUNDLER_ROLE_FD");
	char *end = NULL, head[MAGIC_SIZE];
	struct buffer facts = { 0 };
	struct fault why = { 0 };
	long fd = name && *name >= '0' && *name <= '9' ? strtol(name, &end, 10) : -1;
	int is_number = end && !*end && fd <= 1 << 20;
	unsetenv("BUNDLER_ROLE_FD");
	if (!is_number || fd < 0 || !holds_magic((int)fd))
		return;
	if (read_exactly((int)fd, head, MAGIC_SIZE, -1) || frame_read((int)fd, &facts, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	OWN const char *role = role_fact(&facts, "role");
	if (role && !strcmp(role, "pack"))
		_exit(pack_role(&facts, (int)fd));
	close((int)fd);
	if (role && !strcmp(role, "extract"))
		_exit(extract_role(&facts));
	if (role && !strcmp(role, "copy"))
		_exit(copy_role(&facts));
	if (role && !strcmp(role, "walk"))
		_exit(walk_role(&facts));
	die(0, "the launcher has no role %s", role ? role : "without a name");
}
