// SPDX-License-Identifier: Apache-2.0
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime.h"

int is_for_tool(const struct bundle *bundle, char **argv)
{
	if (!bundle_section(bundle, "tool") || bundle_section(bundle, "payload"))
		return 0;
	// Without something to launch (`run`, `run --help`) it is a question about the command.
	if (!argv[0] || !argv[1] || !argv[2] || argv[2][0] == '-')
		return 1;
	return strcmp(argv[1], "run") != 0;
}

// What steers a dynamic loader, Node or OpenSSL: the runtime must be the same whatever the caller uses for its own programs.
static int is_steering(const char *variable)
{
	static const char *const prefixes[] = { "LD_", "NODE_", "OPENSSL_CONF=", "OPENSSL_MODULES=", "OPENSSL_ENGINES=", "GLIBC_TUNABLES=",
		"BUNDLER_SELF=", "BUNDLER_TOOL=", "BUNDLER_OWN=" };
	if (!strncmp(variable, "NODE_EXTRA_CA_CERTS=", 20))
		return 0;
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		if (!strncmp(variable, prefixes[i], strlen(prefixes[i])))
			return 1;
	return 0;
}

static char **make_environment(const struct bundle *bundle, struct fault *why)
{
	const struct section *tool = bundle_section(bundle, "tool");
	size_t count = 0, kept = 0;
	while (environ[count])
		count++;
	char launcher[SECTION_TEXT], runtime[SECTION_TEXT];
	char **env = calloc(count + 4, sizeof *env);
	if (!env) {
		fault(why, ENOMEM, "keep the environment");
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		if (!is_steering(environ[i]))
			env[kept++] = environ[i];
	if (asprintf(&env[kept], "BUNDLER_SELF=%s", bundle->path) < 0 ||
	    asprintf(&env[kept + 1], "BUNDLER_TOOL=%llu %llu", (unsigned long long)tool->offset, (unsigned long long)tool->size) < 0 ||
	    // What every bundle gets: the table is verified already, the builder need not do it again.
	    asprintf(&env[kept + 2], "BUNDLER_OWN=%s\n%s", describe_section(bundle_section(bundle, "launcher"), launcher),
		describe_section(bundle_section(bundle, "runtime"), runtime)) < 0) {
		fault(why, ENOMEM, "keep the environment");
		return NULL;
	}
	return env;
}

int run_tool(const struct bundle *bundle, char **argv)
{
	enum { OWN_ARGUMENTS = 8 };
	struct runtime runtime;
	struct fault why = { 0 };
	char loader[5000], library[5000], program[5000];
	if (runtime_get(bundle, &runtime, NULL, &why) ||
	    (!strcmp(runtime.from, "namespace") && runtime_enter(bundle, &runtime, &why)))
		fault_die(&why, EXIT_OWN_FAILURE);
	char **env = make_environment(bundle, &why);
	size_t count = 0;
	while (argv[count])
		count++;
	char **args = calloc(count + OWN_ARGUMENTS + 1, sizeof *args);
	if (!env || !args)
		fault_die(&why, EXIT_OWN_FAILURE);
	snprintf(loader, sizeof loader, "%s/ld.so", runtime.dir);
	snprintf(library, sizeof library, "%s/lib", runtime.dir);
	snprintf(program, sizeof program, "%s/runtime", runtime.dir);
	char *own[OWN_ARGUMENTS] = { loader, "--inhibit-cache", "--library-path", library, "--argv0", "bundler", program, "tool" };
	memcpy(args, own, sizeof own);
	for (size_t i = 1; i < count; i++)
		args[OWN_ARGUMENTS + i - 1] = argv[i];
	execve(loader, args, env);
	fault(&why, errno, "execute %s", loader);
	fault_hint(&why, "remove %s and try again", runtime.dir);
	fault_die(&why, EXIT_OWN_FAILURE);
}
