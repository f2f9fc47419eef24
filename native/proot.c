// SPDX-License-Identifier: Apache-2.0
// The proot rung: no namespace, no mount. This process is traced by proot, which is told what to do here and by the library in tracer/.
#include "proot.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "paths.h"
#include "wire.h"

// A file that vanishes with its last descriptor: arguments and environment may be long and secret.
static int make_private_file(int root)
{
	char name[48];
	int fd = memfd_create("bundler", MFD_CLOEXEC);

	if (fd >= 0)
		return fd;
	snprintf(name, sizeof name, ".bundler-job-%ld", (long)getpid());
	fd = openat(root, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0)
		unlinkat(root, name, 0);
	return fd;
}

static void add_list(struct buffer *facts, const char *key, char *const list[])
{
	for (; *list; list++)
		facts_add(facts, key, *list, strlen(*list));
}

// What the library runs once this process is traced. A descriptor, or -1.
static int write_job(const struct proot_request *request, const char *placeholder, struct fault *why)
{
	struct buffer facts = {0};
	OWN_FD fd = make_private_file(request->root);
	int status;

	if (fd < 0)
		return fault(why, errno, "keep the command's arguments");
	add_list(&facts, "arg", request->argv);
	add_list(&facts, "var", request->env);
	facts_add(&facts, "search", request->search, strlen(request->search));
	facts_add(&facts, "placeholder", placeholder, strlen(placeholder));
	if (request->cwd[0])
		facts_add(&facts, "cwd", request->cwd, strlen(request->cwd));
	if (request->create_cwd)
		facts_add(&facts, "create", "", 0);
	if (request->optional_cwd)
		facts_add(&facts, "optional", "", 0);
	status = frame_write(fd, &facts, why);
	buffer_free(&facts);
	if (status < 0)
		return -1;
	return fcntl(fd, F_DUPFD, 10);
}

// proot looks at what it is to start before the library has its way: an empty file that may be executed, gone when the command starts.
static int make_placeholder(int root, const char *name, struct fault *why)
{
	OWN_FD fd = openat(root, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0700);

	return fd < 0 ? fault(why, errno, "make %s in the root filesystem", name) : 0;
}

// "HOST:PLACE": the place is made as the host's is. What the host does not have is left to proot, which passes over it.
static int make_mountpoint(int root, const char *bind, struct fault *why)
{
	const char *place = strchr(bind, ':') + 1;
	OWN char *host = strndup(bind, (size_t)(place - 1 - bind));
	struct stat facts;
	OWN_FD fd = -1;

	if (!host || stat(host, &facts) < 0)
		return 0;
	fd = path_create(root, place, S_ISDIR(facts.st_mode) ? PATH_MAKE_DIR : PATH_MAKE_FILE, S_ISDIR(facts.st_mode) ? 0755 : 0644);
	return fd < 0 ? fault(why, errno, "make the place %s for %s", place, host) : 0;
}

static int set_variables(const char *runtime, int job, const int hold[2], struct fault *why)
{
	char text[4200];

	clearenv();
	snprintf(text, sizeof text, "%s/proot/loader", runtime);
	setenv("PROOT_LOADER", text, 1);
	snprintf(text, sizeof text, "%s/proot/loader32", runtime);
	setenv("PROOT_LOADER_32", text, 1);
	// Its use of seccomp does not fit kernels since 4.8.
	setenv("PROOT_NO_SECCOMP", "1", 1);
	setenv("PROOT_IGNORE_MISSING_BINDINGS", "1", 1);
	snprintf(text, sizeof text, "%d", job);
	setenv("BUNDLER_TRACER_JOB", text, 1);
	snprintf(text, sizeof text, "%d", hold[0]);
	setenv("BUNDLER_TRACER_HOLD", text, 1);
	snprintf(text, sizeof text, "%d", hold[1]);
	return setenv("BUNDLER_TRACER_LOCK", text, 1) < 0 ? fault(why, errno, "start proot") : 0;
}

static void exec_proot(const struct proot_request *request, char *placeholder)
{
	char loader[4200], library[8400], program[4200];
	size_t options = 0, binds = 0, at = 0;

	while (request->options[options])
		options++;
	while (request->binds[binds])
		binds++;
	char **argv = calloc(options + 2 * binds + 24, sizeof *argv);
	if (!argv)
		return;
	snprintf(loader, sizeof loader, "%s/ld.so", request->runtime);
	snprintf(library, sizeof library, "%s/proot/lib:%s/lib", request->runtime, request->runtime);
	snprintf(program, sizeof program, "%s/proot/proot", request->runtime);
	// --preload: a name without a slash is looked for in the library path, which may hold blanks
	const char *const head[] = {
		loader, "--inhibit-cache", "--library-path", library, "--preload", "libbundler-tracer.so", "--argv0", "proot", program,
		"-v", "-1", "-r", request->path, "-w", "/",
	};
	for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
		argv[at++] = (char *)(uintptr_t)head[i];
	for (size_t i = 0; i < options; i++)
		argv[at++] = request->options[i];
	for (size_t i = 0; i < binds; i++) {
		argv[at++] = (char *)(uintptr_t)"-b";
		argv[at++] = request->binds[i];
	}
	argv[at++] = placeholder;
	execve(loader, argv, environ);
	free(argv);
}

int proot_run(const struct proot_request *request, struct fault *why)
{
	char placeholder[48];
	int job, hold[2];

	snprintf(placeholder, sizeof placeholder, "/.bundler-%ld", (long)getpid());
	for (char **bind = request->binds; *bind; bind++)
		if (!strchr(*bind, ':') || make_mountpoint(request->root, *bind, why) < 0)
			return -1;
	if (make_placeholder(request->root, placeholder + 1, why) < 0)
		return -1;
	job = write_job(request, placeholder, why);
	if (job < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		hold[i] = request->hold[i] < 0 ? -1 : fcntl(request->hold[i], F_DUPFD, 10);
	if (proot_filter(why) < 0 || set_variables(request->runtime, job, hold, why) < 0)
		return -1;
	request->finish(request->finish_arg);
	exec_proot(request, placeholder);
	fault(why, errno, "start %s/ld.so", request->runtime);
	unlinkat(request->root, placeholder + 1, 0);
	return -1;
}
