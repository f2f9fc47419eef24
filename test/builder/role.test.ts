// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeFacts, type Fact, frame } from '../../src/format/wire.ts';
import { runRole } from '../../src/launcher/role.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'bundler-role-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** A script in the launcher's place: it writes the answer in two parts and ends with that status. */
function answerWith(answer: Buffer, cut: number, script = 'exit 0'): void {
  writeFileSync(join(dir, 'first'), answer.subarray(0, cut));
  writeFileSync(join(dir, 'second'), answer.subarray(cut));
  const file = join(dir, 'launcher');
  writeFileSync(file, `#!/bin/sh\ncat <&3 >/dev/null\ncat ${dir}/first\ncat ${dir}/second\n${script}\n`);
  chmodSync(file, 0o755);
  process.env.BUNDLER_SELF = file;
}

const frames: Fact[][] = [
  [['done', '1']],
  [
    ['a', 'b'],
    ['c', ''],
  ],
];
const answer = Buffer.concat(frames.map((facts) => frame(encodeFacts(facts))));

async function collect(): Promise<(readonly Fact[])[]> {
  const got: (readonly Fact[])[] = [];
  await runRole([['role', 'test']], { onFacts: (facts) => got.push(facts) });
  return got;
}

test.each([0, 2, 10, answer.length - 1])(
  'frames are put together wherever they were cut, as after %i bytes',
  async (cut) => {
    answerWith(answer, cut);
    expect(await collect()).toEqual(frames);
  },
);

test.each([1, 5, answer.length - 1])('an answer that ends after %i bytes is refused', async (size) => {
  answerWith(answer.subarray(0, size), 0);
  await expect(collect()).rejects.toThrow('incomplete');
});

test("the launcher's own message and advice are handed on", async () => {
  answerWith(Buffer.alloc(0), 0, 'echo "bundler: read it: No space" >&2; echo "  try: harder" >&2; exit 125');
  await expect(collect()).rejects.toMatchObject({ message: 'read it: No space', hint: 'harder' });
});

test('a launcher for which no descriptors are left is told as a failure, not as a crash', () => {
  answerWith(Buffer.alloc(0), 0);
  const request = `import { openSync } from 'node:fs';
    import { runRole } from ${JSON.stringify(resolve('src/launcher/role.ts'))};
    const held = [];
    try { for (;;) held.push(openSync('/dev/null')); } catch {}
    await runRole([['role', 'test']]).catch((error) => console.log(error.constructor.name, error.message));`;
  const command = 'ulimit -n 100; exec "$0" --input-type=module -e "$1"';
  const ran = spawnSync('sh', ['-c', command, process.execPath, request], { encoding: 'utf8' });
  expect(ran.stdout + ran.stderr).toMatch(/^Failure cannot start the launcher .*: spawn .* EMFILE\n$/);
});
