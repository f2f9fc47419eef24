// SPDX-License-Identifier: Apache-2.0
// Launch mode: ask the planner, obey its plan.
#pragma once
#include "bundle.h"

// Becomes the command, or returns the exit status. carrier is the file whose runtime plans: the bundle itself, or the tool for `bundler run`.
// argv is what the user gave, argv[0] the bundle's own name.
int launch(const struct bundle *bundle, const struct bundle *carrier, char **argv);
