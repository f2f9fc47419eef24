// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeImage } from '../../fixtures/make.ts';
import { bundler, makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const secret = 'secret of the host';

/** A directory that is shown as /victim on the bare host, writable for the user, with a file wherever an image's symlink points. */
function makeVictim(): string {
  const victim = makeDir(ordinaryUser(), 'victim');
  for (const dir of ['etc', 'proc', 'dev', 'sys', 'tmp', 'home', 'run', 'root', 'var', 'mnt']) {
    mkdirSync(path.join(victim, dir));
    writeFileSync(path.join(victim, dir, 'file'), secret);
    chmodSync(path.join(victim, dir), 0o777);
  }
  for (const file of ['passwd', 'group', 'hosts', 'hostname', 'resolv.conf', 'machine-id', 'localtime', 'rc']) {
    writeFileSync(path.join(victim, file), secret);
    chmodSync(path.join(victim, file), 0o666);
  }
  return victim;
}

function describeTree(dir: string): string {
  return execFileSync(
    'sh',
    [
      '-c',
      'cd "$0" && find . -printf "%p %y %m %U %s %T@ %C@\\n" | sort && find . -type f -exec sha256sum {} + | sort',
      dir,
    ],
    { encoding: 'utf8' },
  );
}

const images = ['hostile-absolute', 'hostile-relative', 'hostile-files', 'hostile-proc', 'hostile-loops'] as const;
const ways = {
  'served in place': {},
  'served in place with --rw': { args: ['--rw'] },
  unpacked: { env: { BUNDLER_DRIVER: 'extract' } },
  'unpacked with --rw': { env: { BUNDLER_DRIVER: 'extract' }, args: ['--rw'] },
  'without openat2': { flags: ['--deny', 'openat2'], env: { BUNDLER_DRIVER: 'extract' }, args: ['--rw'] },
} as const satisfies Record<
  string,
  { args?: readonly string[]; env?: Record<string, string>; flags?: readonly string[] }
>;

describe('an image whose symlinks lead out of it', () => {
  for (const image of images) {
    for (const [how, way] of Object.entries(ways) as [
      string,
      { args?: readonly string[]; env?: Record<string, string>; flags?: readonly string[] },
    ][]) {
      e2e(`touches and shows nothing of the host (${image}, ${how})`, async () => {
        const victim = makeVictim();
        const before = describeTree(victim);
        const script =
          'for f in /etc /proc /dev /sys /tmp /home /run /root /var /mnt /victim; do cat $f/file $f 2>/dev/null; echo x > $f/new; done; cat /etc/passwd /etc/hosts; exit 0';
        const ran = await runBare(
          [
            makeBundle(image),
            ...(way.args ?? []),
            '--mount',
            '/data:/mnt/data',
            '--entrypoint',
            '/bin/busybox',
            'sh',
            '-c',
            script,
          ],
          {
            flags: ['--bind', `${victim}=/victim`, '--dir', '/data', ...(way.flags ?? [])],
            env: { ...way.env },
          },
        );
        // It runs, or refuses to with a message; neither a crash nor a look outside.
        expect([0, 125], ran.stderr).toContain(ran.status);
        if (ran.status === 125) expect(ran.stderr).toMatch(/^bundler: /);
        expect(ran.stderr).not.toMatch(/this is a bug/);
        expect(ran.stdout).not.toContain(secret);
        expect(describeTree(victim)).toBe(before);
      });
    }
  }

  e2e('is unpacked by `bundler extract` without following one', async () => {
    for (const image of images) {
      const out = path.join(makeDir(ordinaryUser(), 'out'), 'root');
      const ran = await run([bundler, 'extract', '-o', out, makeImage(image)]);
      expect(ran.status, ran.stderr).toBe(0);
      expect(
        execFileSync('find', [out, '-type', 'l', '-path', '*/etc', '-printf', '%l'], { encoding: 'utf8' }),
      ).toMatch(image === 'hostile-files' ? /^$/ : /./);
    }
  });
});

describe('an image with impossible names', () => {
  const complaints = {
    'name-dot': 'the image has an entry named "." in d',
    'name-dot-dot': 'the image has an entry named ".." in d',
    'name-slash': 'the image has an entry named "Q/" in d',
    'name-twice': 'the image has two entries named "QX" in d',
    'name-twice-apart': 'create d/QX (3 bytes): File exists',
  } as const;
  for (const [image, complaint] of Object.entries(complaints) as [keyof typeof complaints, string][]) {
    e2e(`is refused by extraction (${image})`, async () => {
      const parent = makeDir(ordinaryUser(), 'out');
      const ran = await run([bundler, 'extract', '-o', path.join(parent, 'root'), makeImage(image)]);
      expect(ran.status, ran.stdout + ran.stderr).toBe(125);
      expect(ran.stderr.split('\n')[0]).toBe(`bundler: ${complaint}`);
      expect(ran.stderr).toMatch(/^ {2}try: /m);
      expect(execFileSync('ls', ['-A', parent], { encoding: 'utf8' }), 'nothing is left of it').toBe('');
    });
  }
});
