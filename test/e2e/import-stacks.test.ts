// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { stacks } from '../layer/stacks.ts';
import { compileNative } from '../native/compile.ts';
import { listTree } from '../native/image-rig.ts';
import { bundler } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { writeLayout } from '../support/oci-layout.ts';
import { makeRawTar } from '../support/raw-tar.ts';
import { run } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const needing = testNeeding('root', 'bundler', 'umoci');

beforeAll(() => {
  compileNative('dump-image');
});

/** Files that import adds, and the directory that they lie in. */
const added = /^\/etc(\/| |$)/;

/** Lines without those of import's own files, each with its name first. */
function withoutAdded(lines: readonly string[]): string[] {
  return lines.filter((line) => line !== '' && !added.test(line));
}

/** umoci leaves the present time on directories that it made without an entry or removed something from, and none on a root without an entry. */
function forgetTimes(lines: readonly string[], names: ReadonlySet<string>): string[] {
  return lines.map((line) => {
    const [name = '', mode, owner, , ...rest] = line.split(' ');
    return names.has(name) ? [name, mode, owner, '-', ...rest].join(' ') : line;
  });
}

const isOutside = (seconds: number): boolean => seconds === 0 || seconds > 1_600_000_000;

/** Directories whose time is later than any in the stacks, or 0. */
function namesOfTouched(lines: readonly string[]): Set<string> {
  const touched = lines.filter((line) => / dir( |$)/.test(line) && isOutside(Number(line.split(' ')[3])));
  return new Set(touched.map((line) => line.split(' ', 1)[0] as string));
}

describe('an imported stack of layers is the tree that `umoci unpack` makes', () => {
  for (const [name, stack] of Object.entries(stacks)) {
    needing(name, async () => {
      const user = ordinaryUser();
      const dir = makeDir(user, 'stack');
      const layout = path.join(dir, 'layout');
      writeLayout(
        layout,
        stack.layers.map((entries, index) => ({
          tar: makeRawTar(entries),
          encoding: index % 2 === 0 ? 'gzip' : 'none',
        })),
      );
      chmodSync(layout, 0o755);
      const imported = await run([bundler, 'import', '--quiet', '-o', 'out.sqsh', `oci:${layout}`], { user, cwd: dir });
      const unpack = (): void =>
        void execFileSync('umoci', ['unpack', '--image', `${layout}:latest`, path.join(dir, 'unpacked')], {
          stdio: 'pipe',
        });
      if (stack.umoci === 'refuses') expect(unpack).toThrow();
      if (stack.refused !== undefined) {
        expect(imported.status, imported.stderr).toBe(125);
        expect(imported.stderr).toMatch(stack.refused);
        expect(imported.stderr).toMatch(/^bundler: cannot read layer sha256:/);
        expect(readdirSync(dir)).not.toContain('out.sqsh');
        expect(readdirSync(dir).filter((each) => each.includes('partial'))).toEqual([]);
        return;
      }
      expect(imported.status, imported.stderr).toBe(0);
      const dumped = await run([compileNative('dump-image'), path.join(dir, 'out.sqsh')], {
        user: { uid: 0, home: '/' },
      });
      expect(dumped.status, dumped.stderr).toBe(0);
      if (stack.umoci === 'refuses') return;
      unpack();
      const rootfs = path.join(dir, 'unpacked/rootfs');
      const expected = withoutAdded(listTree(rootfs));
      const touched = namesOfTouched(expected);
      const found = withoutAdded(dumped.bytes.toString('latin1').split('\n'));
      if (typeof stack.umoci === 'object') expect(found, 'the known fault of umoci is gone').not.toEqual(expected);
      else expect(forgetTimes(found, touched)).toEqual(forgetTimes(expected, touched));
      execFileSync('rm', ['-rf', '--one-file-system', path.join(dir, 'unpacked')]);
      expect(existsSync(rootfs)).toBe(false);
    });
  }
});
