// SPDX-License-Identifier: Apache-2.0
// What the builder asks of the launcher as a tool (docs/plan.md, Roles).
#pragma once

// Takes BUNDLER_ROLE_FD from the environment. When it names a pipe or socket that holds a role, does it and exits; otherwise returns.
void take_role(void);
