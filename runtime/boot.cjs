// SPDX-License-Identifier: Apache-2.0
// The one script inside the single executable: it runs planner.cjs, which lies beside it, with V8's code cache. The cache is made
// after a sample launch, so that it also holds the functions that a launch compiles (Node's own cache for single executables is made
// before anything has run, which costs 30 ms more at every start), and a changed planner needs no new executable.
'use strict';
const { readFileSync } = require('node:fs');
const { Script } = require('node:vm');

// The program that was started is the loader, ld.so, in the same directory.
const dir = process.execPath.slice(0, process.execPath.lastIndexOf('/'));

// The status of a program that is not there (sh(1)): the launcher then looks whether the files still are, and unpacks them again.
function read(name, encoding) {
  try {
    return readFileSync(`${dir}/${name}`, encoding);
  } catch (error) {
    process.stderr.write(
      `bundler: ${error.message}\n  try: the same again: what is missing of the runtime is unpacked anew\n`,
    );
    process.exit(127);
  }
}

// With a parameter of the same name a script loads another one: a launch reads only those that it needs.
function loadScript(name, require) {
  // A cache of another V8 is refused and the script compiled: slower, not wrong.
  const script = new Script(read(`${name}.cjs`, 'latin1'), {
    filename: `${name}.cjs`,
    cachedData: read(`${name}.cache`),
  });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module, loadScript);
  return module.exports;
}

loadScript('planner', require);
