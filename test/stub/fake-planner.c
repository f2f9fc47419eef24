// SPDX-License-Identifier: Apache-2.0
// Stands for the loader and the planner of a runtime section: speaks the wire of docs/plan.md and does what the bundle's first argument says.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char out[1 << 20];
static size_t out_size;

static void put(const void *data, size_t size)
{
	if (out_size + size > sizeof out)
		_exit(90);
	memcpy(out + out_size, data, size);
	out_size += size;
}

static void put_u32(uint32_t value) { put(&value, 4); }

static void put_str(const char *text)
{
	put_u32((uint32_t)strlen(text));
	put(text, strlen(text) + 1);
}

static void send_out(void)
{
	uint32_t size = (uint32_t)out_size;
	if (write(1, &size, 4) != 4)
		_exit(91);
	for (size_t at = 0; at < out_size;) {
		ssize_t done = write(1, out + at, out_size - at);
		if (done <= 0)
			_exit(91);
		at += (size_t)done;
	}
	out_size = 0;
}

static void reply_text(uint32_t status, const char *text, size_t size)
{
	put("\1", 1);
	put_u32(status);
	put_u32((uint32_t)size);
	put(text, size);
	put_u32(4);
	put("err\n", 4);
	send_out();
}

static char *read_frame(uint32_t *size)
{
	uint32_t at = 0;
	if (read(0, size, 4) != 4)
		_exit(92);
	char *data = malloc(*size + 1u);
	while (at < *size) {
		ssize_t done = read(0, data + at, *size - at);
		if (done <= 0)
			_exit(92);
		at += (uint32_t)done;
	}
	return data;
}

static char *arg[64];
static int args;
static char text[8 << 20];
static size_t text_size;

// One line a fact; the arguments are kept.
static void take_facts(void)
{
	uint32_t size, length;
	char *data = read_frame(&size);
	for (uint32_t at = 0; at < size;) {
		memcpy(&length, data + at, 4);
		char *key = strndup(data + at + 4, length);
		at += 4 + length;
		memcpy(&length, data + at, 4);
		char *value = strndup(data + at + 4, length);
		at += 4 + length;
		if (!strcmp(key, "argv") && args < 63)
			arg[args++] = value;
		text_size += (size_t)snprintf(text + text_size, sizeof text - text_size, "%s=%s\n", key, value);
	}
}

static void add(const char *format, long value)
{
	text_size += (size_t)snprintf(text + text_size, sizeof text - text_size, format, value);
}

// What the launcher must have put in order before it started us.
static void tell_state(void)
{
	struct rlimit files;
	char line[256];
	text_size = 0;
	DIR *dir = opendir("/proc/self/fd");
	for (struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
			add("fd %ld\n", atoi(entry->d_name));
	closedir(dir);
	add("leader %ld\n", getsid(0) == getpid());
	long variables = 0;
	while (environ[variables])
		variables++;
	add("variables %ld\n", variables);
	getrlimit(RLIMIT_NOFILE, &files);
	add("hard-is-soft %ld\n", files.rlim_cur == files.rlim_max);
	FILE *status = fopen("/proc/self/status", "r");
	while (status && fgets(line, sizeof line, status))
		if (!strncmp(line, "SigBlk", 6) || !strncmp(line, "SigIgn", 6) || !strncmp(line, "SigCgt", 6))
			text_size += (size_t)snprintf(text + text_size, sizeof text - text_size, "%s", line);
	reply_text(0, text, text_size);
}

static void ask(void)
{
	put("\2", 1);
	put_u32((uint32_t)args - 2);
	for (int i = 2; i < args; i++)
		put_str(arg[i]);
	send_out();
	text_size = 0;
	take_facts();
	reply_text(0, text, text_size);
}

// A plan of env and exec, without any container.
static void plan(void)
{
	static char *const env[] = { "PATH=/usr/bin:/bin", "IN_PLAN=1" };
	char body[1 << 16];
	size_t sizes[2];
	put("\3", 1);
	put_u32(1);
	put_u32(2);
	size_t start = out_size;
	put_u32(2);
	for (int i = 0; i < 2; i++)
		put_str(env[i]);
	sizes[0] = out_size - start;
	memcpy(body, out + start, sizes[0]);
	out_size = start;
	put_u32((uint32_t)args - 2);
	for (int i = 2; i < args; i++)
		put_str(arg[i]);
	put_str("/usr/bin:/bin");
	sizes[1] = out_size - start;
	memcpy(body + sizes[0], out + start, sizes[1]);
	out_size = start;
	put_u32(19);
	put_u32((uint32_t)sizes[0]);
	put(body, sizes[0]);
	put_u32(20);
	put_u32((uint32_t)sizes[1]);
	put(body + sizes[0], sizes[1]);
	send_out();
}

static int run_tool(int argc, char **argv)
{
	for (int i = 8; i < argc; i++)
		printf("arg=%s\n", argv[i]);
	for (char **env = environ; *env; env++)
		printf("env=%s\n", *env);
	fflush(stdout);
	const char *status = getenv("STATUS");
	return status ? atoi(status) : 0;
}

int main(int argc, char **argv)
{
	char path[4096], deaf[4200];
	if (argc < 8 || strcmp(argv[1], "--inhibit-cache") || strcmp(argv[2], "--library-path") || strcmp(argv[4], "--argv0"))
		return 93;
	if (!strcmp(argv[7], "tool"))
		return run_tool(argc, argv);
	snprintf(path, sizeof path, "%s", argv[0]);
	*strrchr(path, '/') = 0;
	snprintf(deaf, sizeof deaf, "%s/deaf", path);
	if (!access(deaf, F_OK)) {
		dprintf(2, "deaf planner\n");
		return 1;
	}
	take_facts();
	take_facts();
	const char *what = args > 1 ? arg[1] : "facts";
	if (!strcmp(what, "facts"))
		reply_text(0, text, text_size);
	else if (!strcmp(what, "text"))
		reply_text((uint32_t)atoi(arg[2]), "out\n", 4);
	else if (!strcmp(what, "state"))
		tell_state();
	else if (!strcmp(what, "ask"))
		ask();
	else if (!strcmp(what, "plan") || !strcmp(what, "linger"))
		plan();
	else if (!strcmp(what, "garbage"))
		put("\11garbage", 8), send_out();
	else if (!strcmp(what, "newer"))
		put("\3\143\0\0\0\0\0\0\0", 9), send_out();
	else if (!strcmp(what, "huge"))
		return write(1, "\377\377\377\377", 4) != 4;
	else if (!strcmp(what, "half"))
		return write(1, "\20\0\0\0\1abc", 8) != 8;
	else if (!strcmp(what, "kill"))
		kill(getpid(), atoi(arg[2]));
	else {
		dprintf(2, "boom: %s\n", what);
		return 3;
	}
	while (!strcmp(what, "linger"))
		pause();
	return 0;
}
