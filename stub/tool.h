// SPDX-License-Identifier: Apache-2.0
// Tool mode: a file with a `tool` section and no payload is the bundler command itself.
#pragma once
#include "bundle.h"

// Whether the bundle is the tool, and these arguments are for it rather than for the launcher.
int is_for_tool(const struct bundle *bundle, char **argv);
// Becomes the runtime that runs the tool; returns the exit status of a failure.
int run_tool(const struct bundle *bundle, char **argv);
