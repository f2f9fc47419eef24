// SPDX-License-Identifier: Apache-2.0
import { closeSync, openSync, readSync } from 'node:fs';

/**
 * Runs the builder: the `tool` section of the file BUNDLER_SELF (docs/format.md), a function around CommonJS that needs only Node's
 * own modules and has no import(), with V8's code cache.
 * BUNDLER_TOOL is `OFFSET SIZE`, in bytes. The builder sees process.argv as [node, bundler, ...args].
 */
export function loadTool(args: readonly string[]): void {
  const self = process.env.BUNDLER_SELF ?? '';
  const [offset = Number.NaN, sizeBytes = Number.NaN] = (process.env.BUNDLER_TOOL ?? '').split(' ').map(Number);
  if (self === '' || !Number.isSafeInteger(offset) || !Number.isSafeInteger(sizeBytes)) {
    throw new Error('BUNDLER_SELF and BUNDLER_TOOL do not name the tool: the launcher sets them');
  }
  const vm = process.getBuiltinModule('node:vm');
  const section = readAt(self, offset, sizeBytes);
  const scriptEnd = 4 + section.readUInt32LE(0);
  process.argv = [process.argv[0] ?? 'node', self, ...args];
  // A cache of another V8 is refused and the script compiled: slower, not wrong.
  const script = new vm.Script(section.toString('latin1', 4, scriptEnd), {
    filename: 'bundler',
    cachedData: section.subarray(scriptEnd),
  });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, requireOwn, module, self, '/');
}

/** `require` for Node's own modules: everything else is inside the bundle. */
function requireOwn(id: string): unknown {
  const found = process.getBuiltinModule(id);
  if (found === undefined) throw new Error(`the tool asks for '${id}', which is not one of Node's own modules`);
  return found;
}

function readAt(path: string, offset: number, sizeBytes: number): Buffer {
  const data = Buffer.allocUnsafe(sizeBytes);
  const fd = openSync(path, 'r');
  try {
    for (let at = 0; at < sizeBytes; ) {
      const got = readSync(fd, data, at, sizeBytes - at, offset + at);
      if (got === 0) throw new Error(`${path} ends inside its tool section`);
      at += got;
    }
  } finally {
    closeSync(fd);
  }
  return data;
}
