// SPDX-License-Identifier: Apache-2.0
// Run by the build: node warm-cache.cjs DIR REPLY REQUEST.. Lets the planner, in DIR, answer recorded requests, then writes beside each of its
// scripts V8's code cache, which holds every function that was compiled on the way.
'use strict';
const { closeSync, openSync, readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');

const [, , dir, reply, ...requests] = process.argv;
const scripts = new Map();

/** As that of runtime/boot.cjs; of a script that was loaded before the same, so that one cache holds all. */
function loadScript(name, require) {
  const source = () => new Script(readFileSync(`${dir}${name}.cjs`, 'latin1'), { filename: `${name}.cjs` });
  const script = scripts.get(name) ?? source();
  scripts.set(name, script);
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module, loadScript);
  return module.exports;
}

// The planner reads descriptor 0 and writes descriptor 1: the lowest free number is the one that open(2) gives.
function redirect(number, path, flags) {
  closeSync(number);
  if (openSync(path, flags) !== number) throw new Error(`descriptor ${number} is taken`);
}

function answerNext() {
  const request = requests.shift();
  if (request === undefined) {
    for (const [name, script] of scripts) writeFileSync(`${dir}${name}.cache`, script.createCachedData());
    exit(0);
  }
  redirect(0, request, 'r');
  redirect(1, reply, 'w');
  loadScript('planner', require);
}

const { exit } = process;
process.exit = (status) => (status === 0 ? answerNext() : exit(status));
process.argv.splice(2, Number.POSITIVE_INFINITY, 'plan');
answerNext();
