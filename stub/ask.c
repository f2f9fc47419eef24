// SPDX-License-Identifier: Apache-2.0
// Answers to what the planner asks about this host (docs/plan.md, Replies).
#include "planner.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "account.h"
#include "probes.h"
#include "run_program.h"
#include "tries.h"

enum { MAX_ARGS = 64 };

static void add_text(struct buffer *out, const char *text)
{
	buffer_add(out, text, strlen(text));
}

static void add_place(struct buffer *out, const char *path, const struct dir_fact *fact)
{
	char line[160];
	if (fact->error)
		snprintf(line, sizeof line, " %s %d\n", fact->step, fact->error);
	else
		snprintf(line, sizeof line, " ok %llu %s %s\n", (unsigned long long)fact->free_bytes, fact->fstype, fact->executable ? "exec" : "noexec");
	add_text(out, path);
	add_text(out, line);
}

// Opens path, or the nearest directory above it that is there.
static int open_nearest(const char *path)
{
	char above[4096];
	int dir;
	if (snprintf(above, sizeof above, "%s", path) >= (int)sizeof above) {
		errno = ENAMETOOLONG;
		return -1;
	}
	while ((dir = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0 && errno == ENOENT && strcmp(above, ".")) {
		char *slash = strrchr(above, '/');
		if (slash)
			slash[slash == above] = 0;
		else
			strcpy(above, ".");
	}
	return dir;
}

// A directory that is missing is not made for a question: the nearest one above tells.
static void tell_nearest(uint64_t need_bytes, const char *path, struct buffer *out)
{
	struct dir_fact fact = { .step = "create" };
	int dir = open_nearest(path);
	if (dir < 0)
		fact.error = errno;
	else
		dir_measure(dir, need_bytes, &fact);
	close_fd(&dir);
	add_place(out, path, &fact);
}

static void tell_places(uint64_t need_bytes, struct buffer *out)
{
	struct dirs dirs;
	dirs_candidates(&dirs);
	for (size_t i = 0; i < dirs.count; i++) {
		struct dir_fact fact;
		struct stat st;
		if (lstat(dirs.path[i], &st) && errno == ENOENT) {
			tell_nearest(need_bytes, dirs.path[i], out);
			continue;
		}
		int dir = dir_probe(dirs.path[i], need_bytes, &fact);
		close_fd(&dir);
		add_place(out, dirs.path[i], &fact);
	}
}

// "LEN:BYTES,LEN:BYTES,.." into argv, in place. The number of arguments, or -1.
static int split_words(char *text, char *argv[MAX_ARGS + 1])
{
	int count = 0;
	while (*text) {
		char *end;
		unsigned long long length = strtoull(text, &end, 10);
		if (end == text || *end != ':' || length >= strlen(end + 1) + 1 || end[1 + length] != ',' || count == MAX_ARGS)
			return -1;
		argv[count++] = end + 1;
		end[1 + length] = 0;
		text = end + 2 + length;
	}
	argv[count] = NULL;
	return count;
}

// "TIMEOUT-MS MAX-BYTES ARGUMENTS". 0, or -1 when it is not that.
static int run_asked(const char *question, struct buffer *out)
{
	char *argv[MAX_ARGS + 1], *end;
	unsigned long long timeout_ms = strtoull(question, &end, 10);
	if (end == question || *end != ' ' || timeout_ms > 3600000)
		return -1;
	const char *second = end + 1;
	unsigned long long max_bytes = strtoull(second, &end, 10);
	if (end == second || *end != ' ' || max_bytes > 16u << 20)
		return -1;
	OWN char *words = strdup(end + 1);
	if (!words || split_words(words, argv) < 1)
		return -1;
	struct program program = { argv, (unsigned)timeout_ms, (size_t)max_bytes };
	if (!account_answer(&program, out))
		run_program(&program, out);
	return 0;
}

static int answer(const char *question, struct buffer *out, struct fault *why)
{
	char *end = NULL;
	if (!strcmp(question, "clear-cache")) {
		struct dirs dirs;
		dirs_candidates(&dirs);
		for (size_t i = 0; i < dirs.count; i++)
			clear_cache(dirs.path[i], out);
		return 0;
	}
	if (!strcmp(question, "rungs")) {
		tell_rungs(out);
		return 0;
	}
	if (!strncmp(question, "places ", 7)) {
		unsigned long long need = strtoull(question + 7, &end, 10);
		if (end != question + 7 && !*end) {
			tell_places(need, out);
			return 0;
		}
	}
	if (!strncmp(question, "layers ", 7)) {
		unsigned long long need = strtoull(question + 7, &end, 10);
		if (end != question + 7 && !*end) {
			try_layers(need, out);
			return 0;
		}
	}
	if (!strncmp(question, "exec ", 5) && question[5]) {
		OWN_FD dir = open_nearest(question + 5);
		try_exec(dir, out);
		return 0;
	}
	if (!strncmp(question, "dir ", 4)) {
		unsigned long long need = strtoull(question + 4, &end, 10);
		if (end != question + 4 && *end == ' ' && end[1]) {
			// one the user named: it may be anybody's, and symlinks are followed
			tell_nearest(need, end + 1, out);
			return 0;
		}
	}
	if (!strncmp(question, "run ", 4) && !run_asked(question + 4, out))
		return 0;
	return fault(why, 0, "the planner asks what this launcher does not know: %.200s", question);
}

static int next_u32(const char *body, size_t size, size_t *at, size_t *value)
{
	uint32_t little;
	if (size - *at < sizeof little)
		return -1;
	memcpy(&little, body + *at, sizeof little);
	*value = le32toh(little);
	*at += sizeof little;
	return 0;
}

int answer_questions(const char *body, size_t size, struct buffer *facts, struct fault *why)
{
	size_t at = 0, count, length;
	if (next_u32(body, size, &at, &count))
		return fault(why, 0, "the planner's questions end early");
	for (size_t i = 0; i < count; i++) {
		struct buffer text = { 0 };
		if (next_u32(body, size, &at, &length) || length >= size - at || body[at + length] || memchr(body + at, 0, length))
			return fault(why, 0, "the planner's questions end early");
		int failed = answer(body + at, &text, why);
		if (!failed)
			facts_add(facts, "answer", text.data, text.size);
		buffer_free(&text);
		if (failed)
			return -1;
		at += length + 1;
	}
	return at == size ? 0 : fault(why, 0, "the planner's questions are followed by %zu bytes", size - at);
}
