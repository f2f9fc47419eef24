// SPDX-License-Identifier: Apache-2.0
// Run by the build: node warm-cache.cjs SCRIPT CACHE REQUEST REPLY. Lets the planner answer a recorded request, then writes V8's code
// cache, which holds every function that was compiled on the way.
'use strict';
const { closeSync, openSync, readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');

const [, , path, cache, request, reply] = process.argv;
const script = new Script(readFileSync(path, 'latin1'), { filename: 'planner.cjs' });
process.on('exit', () => writeFileSync(cache, script.createCachedData()));

// The planner reads descriptor 0 and writes descriptor 1: the lowest free number is the one that open(2) gives.
for (const [number, name, flags] of [
  [0, request, 'r'],
  [1, reply, 'w'],
]) {
  closeSync(number);
  if (openSync(name, flags) !== number) throw new Error(`descriptor ${number} is taken`);
}
process.argv.splice(2, Number.POSITIVE_INFINITY, 'plan');
const module_ = { exports: {} };
script.runInThisContext()(module_.exports, require, module_);
