// SPDX-License-Identifier: Apache-2.0
import { loadTool } from './load-tool.ts';
import { servePlanner } from './serve-planner.ts';

/** The single executable of the runtime section. The launcher starts it as `plan` (docs/plan.md) or as `tool ARGS..`. */
const [, , mode, ...args] = process.argv;
if (mode === 'plan') {
  servePlanner(0, 1).then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
      process.exit(125);
    },
  );
} else if (mode === 'tool') {
  loadTool(args);
} else {
  process.stderr.write('bundler: this is the planner of a bundle; start the bundle itself\n');
  process.exit(125);
}
