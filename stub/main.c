// SPDX-License-Identifier: Apache-2.0
// The head of every .run file: finds its sections, has a planner decide, and becomes the command.
#include <string.h>
#include <unistd.h>
#include "bundle.h"
#include "launch.h"
#include "role.h"
#include "spawn.h"
#include "tool.h"

// `bundler run FILE ARGS`: FILE's sections, with the runtime of this file, so that a bundle runs without its x bit or on a noexec mount.
static void open_named(struct bundle *bundle, const char *path)
{
	struct fault why = { 0 };
	if (bundle_open_path(bundle, path, &why) || bundle_read(bundle, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	// the tool itself can still be asked about this host
	if (!bundle_section(bundle, "payload") && !bundle_section(bundle, "tool"))
		die(0, "%s: nothing to run: it has no payload section", bundle->path);
}

#ifdef __has_feature
#if __has_feature(address_sanitizer)
// What is held until exec or exit is no leak, and the search for leaks would change the exit status.
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif
#endif

int main(int argc, char **argv)
{
	static struct bundle self, named;
	struct fault why = { 0 };
	hold_standard_descriptors();
	take_role();
	if (bundle_open_self(&self, &why) || bundle_read(&self, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	if (is_for_tool(&self, argv))
		return run_tool(&self, argv);
	if (!bundle_section(&self, "tool") || argc < 3 || strcmp(argv[1], "run"))
		return launch(&self, &self, argv);
	open_named(&named, argv[2]);
	return launch(&named, &self, argv + 2);
}
