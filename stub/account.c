// SPDX-License-Identifier: Apache-2.0
#include "account.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// As the planner asks (runtime/host-program.ts); what differs is run when it is asked for.
enum { PATIENCE_MS = 5000, MAX_BYTES = 1 << 20, MAX_FILE_BYTES = 4 << 20 };

struct query {
	char number[16];
	char *argv[4];
	struct program program;
	struct running running;
};
static struct query queries[2] = { { .running = RUNNING_NONE }, { .running = RUNNING_NONE } };

// Has the file a line with this number in its third field (passwd(5), group(5))? One that cannot be read has none.
static int is_in_file(const char *path, const char *number)
{
	OWN_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	OWN char *text = malloc(MAX_FILE_BYTES + 1);
	ssize_t size, total = 0;
	if (fd < 0 || !text)
		return 0;
	while (total < MAX_FILE_BYTES && (size = read(fd, text + total, (size_t)(MAX_FILE_BYTES - total))) > 0)
		total += size;
	text[total] = 0;
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		strsep(&line, ":");
		strsep(&line, ":");
		const char *field = line ? strsep(&line, ":") : NULL;
		if (field && !strcmp(field, number))
			return 1;
	}
	return 0;
}

static void ask(struct query *query, const char *file, char *database, unsigned id)
{
	snprintf(query->number, sizeof query->number, "%u", id);
	if (!id || query->running.child > 0 || is_in_file(file, query->number))
		return;
	char *argv[] = { "getent", database, query->number, NULL };
	memcpy(query->argv, argv, sizeof argv);
	query->program = (struct program){ query->argv, PATIENCE_MS, MAX_BYTES };
	program_start(&query->program, &query->running);
}

void account_start(void)
{
	ask(&queries[0], "/etc/passwd", "passwd", geteuid());
	ask(&queries[1], "/etc/group", "group", getegid());
}

static int is_same(const struct program *one, const struct program *other)
{
	if (one->timeout_ms != other->timeout_ms || one->max_bytes != other->max_bytes)
		return 0;
	size_t i = 0;
	for (; one->argv[i] && other->argv[i]; i++)
		if (strcmp(one->argv[i], other->argv[i]))
			return 0;
	return !one->argv[i] && !other->argv[i];
}

int account_answer(const struct program *program, struct buffer *answer)
{
	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
		struct query *query = &queries[i];
		if (query->running.child < 0 || !is_same(&query->program, program))
			continue;
		program_finish(&query->running, answer);
		return 1;
	}
	return 0;
}

void account_forget(void)
{
	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
		program_cancel(&queries[i].running);
}
