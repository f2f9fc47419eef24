// SPDX-License-Identifier: Apache-2.0
// Run by the build: node warm-tool.cjs SCRIPT CACHE ARGS. Runs a command line of the builder that ends early, then writes V8's code cache,
// which holds every function that was compiled on the way: most of what any command needs before its work begins.
'use strict';
const { readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');

const [node, , path, cache, ...args] = process.argv;
const script = new Script(readFileSync(path, 'latin1'), { filename: 'bundler' });
process.on('exit', () => {
  writeFileSync(cache, script.createCachedData());
  process.exitCode = 0;
});
process.stderr.write = () => true;
process.argv = [node, 'bundler', ...args];
const module_ = { exports: {} };
script.runInThisContext()(module_.exports, require, module_, 'bundler', '/');
