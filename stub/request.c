// SPDX-License-Identifier: Apache-2.0
// The request: everything about this start that the planner may want to know and that only we can tell.
#include "planner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef BUNDLER_VERSION
#define BUNDLER_VERSION "0.0.0-development"
#endif

static void add_text(struct buffer *facts, const char *key, const char *text)
{
	facts_add(facts, key, text, strlen(text));
}

static void add_ids(struct buffer *facts)
{
	struct buffer list = { 0 };
	int count = getgroups(0, NULL);
	OWN gid_t *groups = count > 0 ? calloc((size_t)count, sizeof *groups) : NULL;
	count = groups ? getgroups(count, groups) : 0;
	for (int i = 0; i < count; i++) {
		char text[16];
		int size = snprintf(text, sizeof text, "%s%u", i ? " " : "", groups[i]);
		buffer_add(&list, text, (size_t)size);
	}
	facts_addf(facts, "uid", "%u", getuid());
	facts_addf(facts, "gid", "%u", getgid());
	facts_addf(facts, "euid", "%u", geteuid());
	facts_addf(facts, "egid", "%u", getegid());
	facts_add(facts, "groups", list.data, list.size);
	buffer_free(&list);
}

// CPUs in the affinity mask, which may be wider than cpu_set_t.
static unsigned count_cpus(void)
{
	for (size_t count = 1024; count <= 1 << 20; count *= 4) {
		cpu_set_t *set = CPU_ALLOC(count);
		size_t size = CPU_ALLOC_SIZE(count);
		if (!set)
			break;
		int failed = sched_getaffinity(0, size, set);
		int cpus = failed ? 0 : CPU_COUNT_S(size, set);
		CPU_FREE(set);
		if (!failed)
			return (unsigned)cpus;
		if (errno != EINVAL)
			break;
	}
	return 1;
}

static void add_sections(const struct bundle *bundle, struct buffer *facts)
{
	char text[SECTION_TEXT];
	for (size_t i = 0; i < bundle->count; i++)
		facts_addf(facts, "section", "%s", describe_section(&bundle->section[i], text));
}

static void add_terminals(struct buffer *facts)
{
	char list[4] = "";
	size_t size = 0;
	for (int fd = 0; fd < 3; fd++)
		if (isatty(fd))
			list[size++] = (char)('0' + fd);
	facts_add(facts, "tty", list, size);
}

// Which job we belong to, and whose ids and processes we see.
static void add_surroundings(struct buffer *facts)
{
	static const char *const namespaces[] = { "/proc/self/ns/user", "/proc/self/ns/pid" };
	unsigned long long inode[2] = { 0, 0 };
	char text[16384];
	ssize_t size, all = 0;
	OWN_FD fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (size = read(fd, text + all, sizeof text - (size_t)all)) > 0)
		all += size;
	facts_add(facts, "cgroup", text, (size_t)all);
	for (size_t i = 0; i < 2; i++) {
		struct stat st;
		if (!stat(namespaces[i], &st))
			inode[i] = st.st_ino;
	}
	facts_addf(facts, "namespaces", "%llu %llu", inode[0], inode[1]);
}

void request_facts(const struct bundle *bundle, const struct bundle *carrier, const struct runtime *runtime, char **argv, struct buffer *facts)
{
	struct utsname name;
	char cwd[PATH_MAX];
	add_text(facts, "wire", "1");
	for (; *argv; argv++)
		add_text(facts, "argv", *argv);
	for (char **env = environ; *env; env++)
		add_text(facts, "env", *env);
	add_ids(facts);
	// The system call gives "(unreachable).." for a directory outside of our root.
	add_text(facts, "cwd", getcwd(cwd, sizeof cwd) && *cwd == '/' ? cwd : "");
	mode_t mask = umask(077);
	umask(mask);
	facts_addf(facts, "umask", "%03o", (unsigned)mask);
	add_terminals(facts);
	add_text(facts, "exe", bundle->path);
	add_text(facts, "program", carrier->path);
	add_text(facts, "launcher", BUNDLER_VERSION);
	if (!uname(&name)) {
		add_text(facts, "kernel", name.release);
		add_text(facts, "machine", name.machine);
		add_text(facts, "hostname", name.nodename);
	}
	facts_addf(facts, "file-size", "%llu", (unsigned long long)bundle->size);
	add_sections(bundle, facts);
	facts_add(facts, "manifest", bundle->manifest.data, bundle->manifest.size);
	add_text(facts, "cache-dir", runtime->cache);
	add_text(facts, "runtime-from", runtime->from);
	// One in a namespace is out of reach for the process that becomes the command.
	add_text(facts, "runtime-dir", runtime->cache[0] ? runtime->dir : "");
	facts_addf(facts, "cpus", "%u", count_cpus());
	facts_addf(facts, "pid", "%ld", (long)getpid());
	add_surroundings(facts);
}
