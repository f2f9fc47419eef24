// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { type ImageName, makeImage } from '../../fixtures/make.ts';
import { bundler, findSection, makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser, type User } from '../support/session.ts';
import { listFiles, untilAllEnded } from '../support/snapshot.ts';

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

/** What becomes of each: most run, with their links led back inside; the others are refused with the reason. */
const images = {
  'hostile-absolute': 'runs',
  'hostile-relative': 'runs',
  'hostile-files': 'runs',
  'hostile-proc': 'is refused',
  'hostile-proc-mounts': 'is refused',
  'hostile-proc-files': 'runs',
  'hostile-mount-loop': 'is refused',
  'hostile-loops': 'is refused',
} as const satisfies Partial<Record<ImageName, string>>;
const imageNames = Object.keys(images) as (keyof typeof images)[];

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
  for (const image of imageNames) {
    for (const [how, way] of Object.entries(ways) as [
      string,
      { args?: readonly string[]; env?: Record<string, string>; flags?: readonly string[] },
    ][]) {
      e2e(`touches and shows nothing of the host (${image}, ${how})`, async () => {
        const victim = makeVictim();
        const before = describeTree(victim);
        const script =
          'for f in /etc /proc /dev /sys /tmp /home /run /root /var /mnt /victim; do cat $f/file $f 2>/dev/null; echo x > $f/new; done; cat /etc/passwd /etc/hosts; echo the end';
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
        if (images[image] === 'runs') {
          expect(ran.status, ran.stderr).toBe(0);
          expect(ran.stdout, 'the script came to its end').toMatch(/^the end$/m);
        } else if (image !== 'hostile-proc-mounts' || how !== 'without openat2') {
          // (There a link of /proc is read as the text that it shows, which leads to a place inside.)
          expect(ran.status, ran.stdout + ran.stderr).toBe(125);
          expect(ran.stderr).toMatch(/^bundler: .*(Too many levels of symbolic links|Device or resource busy)/);
        }
        expect(ran.stderr).not.toMatch(/this is a bug/);
        expect(ran.stdout).not.toContain(secret);
        expect(describeTree(victim)).toBe(before);
      });
    }
  }

  e2e('is unpacked by `bundler extract` without following one', async () => {
    for (const image of imageNames) {
      const out = path.join(makeDir(ordinaryUser(), 'out'), 'root');
      const ran = await run([bundler, 'extract', '-o', out, makeImage(image)]);
      expect(ran.status, ran.stderr).toBe(0);
      expect(
        execFileSync('find', [out, '-type', 'l', '-path', '*/etc', '-printf', '%l'], { encoding: 'utf8' }),
      ).toMatch(/hostile-(absolute|relative|proc|loops)$/.test(image) ? /./ : /^$/);
    }
  });

  e2e('shows `bundler make` nothing of the host: the facts it reads are the image’s own', async () => {
    const dir = makeDir(ordinaryUser(), 'hostile');
    mkdirSync(path.join(dir, 'root/etc'), { recursive: true });
    const links = {
      passwd: '',
      group: '../../../../../../../..',
      environment: '/proc/self/root',
      'os-release': '/proc/1/root',
    };
    for (const [name, way] of Object.entries(links)) {
      writeFileSync(path.join(dir, name), secret);
      symlinkSync(`${way}${dir}/${name}`, path.join(dir, 'root/etc', name));
    }
    const image = path.join(dir, 'x.sqsh');
    execFileSync('mksquashfs', [path.join(dir, 'root'), image, '-quiet', '-no-progress'], { stdio: 'pipe' });
    const made = await run([bundler, 'make', '-q', '-o', path.join(dir, 'x.run'), image]);
    expect(made.status, made.stderr).toBe(0);
    const { offset, size } = findSection(path.join(dir, 'x.run'), 'manifest');
    const manifest = readFileSync(path.join(dir, 'x.run'))
      .subarray(offset, offset + size)
      .toString();
    expect(JSON.parse(manifest)).toMatchObject({ rootfs: { passwd: '', group: '', environment: '', osRelease: '' } });
    expect(manifest).not.toContain(secret);
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
      const user = freshUser();
      const parent = makeDir(user, 'out');
      const target = path.join(parent, 'root');
      await expectRefused(complaint, user, parent, [bundler, 'extract', '-o', target, makeImage(image)]);
    });
  }

  for (const image of ['name-dot', 'name-dot-dot', 'name-slash'] as const) {
    e2e(`is refused by make (${image})`, async () => {
      const parent = makeDir(ordinaryUser(), 'out');
      const ran = await run([bundler, 'make', makeImage(image)], { cwd: parent });
      expect(ran).toMatchObject({ status: 125, stdout: '' });
      expect(ran.stderr).toMatch(/^bundler: .*the image is damaged: .*impossible\n {2}try: /);
      expect(readdirSync(parent)).toEqual([]);
    });
  }

  e2e('is refused by each way of a bundle to unpack it (name-twice-apart)', async () => {
    const user = freshUser();
    const parent = makeDir(user, 'out');
    const target = path.join(parent, 'root');
    const file = makeBundle('name-twice-apart');
    const complaint = complaints['name-twice-apart'];
    await expectRefused(complaint, user, parent, [bundler, 'extract', '-o', target, file]);
    await expectRefused(complaint, user, parent, [file, '--extract', '--target', target]);
    await expectRefused(complaint, user, parent, [file, '--keep', '--target', target, 'true']);
    await expectRefused(complaint, user, parent, [file, 'true'], { BUNDLER_DRIVER: 'extract' });
  });
});

async function expectRefused(
  complaint: string,
  user: User,
  parent: string,
  argv: string[],
  env: Record<string, string> = {},
): Promise<void> {
  const ran = await run(argv, { user, env });
  expect(ran.status, ran.stdout + ran.stderr).toBe(125);
  expect(ran.stderr).toMatch(/^[^\n]*\n {2}try: /);
  expect(ran.stderr.split('\n')[0]).toBe(`bundler: ${complaint}`);
  await untilAllEnded(user);
  expect(readdirSync(parent), 'nothing is left of it').toEqual([]);
  expect(listFiles(user).filter((name) => name.includes('extract-'))).toEqual([]);
}
