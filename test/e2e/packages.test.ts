// SPDX-License-Identifier: Apache-2.0
import { beforeAll, describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { makeDebianImage, makePackage } from '../support/debian.ts';
import { hasFeatures, testNeeding } from '../support/features.ts';
import { run } from '../support/run.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';

const needing = testNeeding('root', 'bundler', 'userns', 'fuse', 'mksquashfs', 'dpkg');
let bundle: string;
let deb: string;
let user: User;

beforeAll(() => {
  if (!hasFeatures('root', 'dpkg', 'bundler')) return;
  bundle = makeBundle(makeDebianImage() as `/${string}`);
  user = freshUser();
  deb = makePackage(makeDir(user, 'deb'));
}, 120_000);

const install = 'dpkg -i /mnt/thing.deb';

describe('package work for a user without any subordinate id', () => {
  for (const [how, env] of [
    ['over an image served in place', {}],
    ['in an unpacked image', { BUNDLER_DRIVER: 'extract' }],
  ] as const) {
    needing(`dpkg -i of a package that makes a user and gives it files succeeds with --root --rw, ${how}`, async () => {
      const look =
        'dpkg -s thing | grep Status; id thing; stat -c "%U %G %a %n" /var/lib/thing/* /usr/bin/thing; dpkg --purge thing && ! grep thing /etc/passwd && echo purged';
      const args = ['--root', '--rw', '--mount', `${deb}:/mnt/thing.deb`, 'sh', '-c', `${install} && ${look}`];
      const ran = await run([bundle, ...args], { user, env });
      expect(ran.stderr.match(/^.*(error|fail|denied|permitted).*$/gim)).toBe(null);
      expect(ran.stdout).toContain('configured\nStatus: install ok installed\n');
      expect(ran.stdout).toMatch(/\nuid=\d+\(thing\) gid=\d+\(thing\) groups=\d+\(thing\)\n/);
      // Nothing was given away: there is only one owner.
      expect(ran.stdout).toContain('root root 600 /var/lib/thing/data\n');
      expect(ran.stdout).toContain('root root 644 /var/lib/thing/made\n');
      expect(ran.stdout).toContain('root root 4755 /usr/bin/thing\n');
      expect(ran.stdout).toMatch(/Purging configuration files for thing .*\npurged\n$/);
      expect(ran.status).toBe(0);
      await untilAllEnded(user);
    });
  }

  needing('what it installed stays with --overlay, also for a start without --root', async () => {
    const layer = `${makeDir(user, 'layer')}/changes`;
    const mount = ['--mount', `${deb}:/mnt/thing.deb`];
    const first = await run([bundle, '--root', '--overlay', layer, ...mount, 'sh', '-c', install], { user });
    expect(first.status, first.stderr).toBe(0);
    const second = await run([bundle, '--overlay', layer, 'thing'], { user });
    expect(second, second.stderr).toMatchObject({ status: 0, stdout: 'thing\n' });
    await untilAllEnded(user);
  });

  needing('fails without --root, so that it is the mapping that makes it work', async () => {
    const mount = ['--mount', `${deb}:/mnt/thing.deb`];
    const ran = await run([bundle, '--rw', ...mount, 'sh', '-c', install], { user });
    expect(ran.status).not.toBe(0);
    expect(ran.stderr).toContain('superuser');
  });
});
