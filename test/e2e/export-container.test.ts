// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { listTree } from '../native/image-rig.ts';
import { bundler } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { interruptWriter } from '../support/interrupt-writer.ts';
import { type Ran, run } from '../support/run.ts';
import { inspectBySkopeo, listImage, makeSampleLayout, readConfig } from '../support/sample-image.ts';
import { makeDir, ordinaryUser, type User } from '../support/session.ts';

const needing = testNeeding('root', 'bundler', 'unsquashfs', 'skopeo');
const root: User = { uid: 0, home: '/' };

let layout = '';
let image = '';

/** A directory of containers in which `np` is the sample, loaded by a user. */
async function makeData(user: User = ordinaryUser()): Promise<string> {
  const data = makeDir(user, 'data');
  const ran = await run([bundler, 'load', '-q', '-n', 'np', `oci:${layout}`], {
    user,
    env: { ENROOT_DATA_PATH: data },
  });
  expect(ran.status, ran.stderr).toBe(0);
  return data;
}

function invoke(data: string, cwd: string, argv: readonly string[], user = ordinaryUser()): Promise<Ran> {
  return run([bundler, 'export', ...argv], { user, cwd, env: { ENROOT_DATA_PATH: data } });
}

const makeCwd = (): string => makeDir(ordinaryUser(), 'export');

/** What the owner of a file can do there. */
function asUser(script: string, cwd: string): void {
  const { uid } = ordinaryUser();
  execFileSync('setpriv', [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', 'sh', '-euc', script], {
    cwd,
    stdio: 'pipe',
  });
}

/** Lines of a directory as those of an image that is made of it for an ordinary user. */
function ofRoot(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^(\S* \S+) \S+/, '$1 0:0'));
}

beforeAll(async () => {
  layout = makeSampleLayout();
  const cwd = makeCwd();
  image = path.join(cwd, 'np.sqsh');
  const ran = await run([bundler, 'import', '-q', '-o', image, `oci:${layout}`], { cwd });
  expect(ran.status, ran.stderr).toBe(0);
});

describe('a container exported as squashfs', () => {
  needing('has its tree, all of it owned by root, for an ordinary user', async () => {
    const [data, cwd] = [await makeData(), makeCwd()];
    const ran = await invoke(data, cwd, ['--json', 'np']);
    expect(ran.status, ran.stderr).toBe(0);
    expect(JSON.parse(ran.stdout)).toEqual({ output: 'np.sqsh', sizeBytes: statSync(path.join(cwd, 'np.sqsh')).size });
    const found = listImage(path.join(cwd, 'np.sqsh'));
    const expected = ofRoot(listTree(path.join(data, 'np'))).filter(
      (line) => !/^\/(dev\/|\.lock|\.bundler)/.test(line),
    );
    expect(found).toEqual(expected);
    // Nothing of these is for others to read.
    for (const name of ['secret', 'closed/shut/inside', 'closed/listed/inside', 'home/me/file'])
      expect(found.some((line) => line.startsWith(`/${name} `))).toBe(true);
  });

  needing('keeps owners, devices and capabilities for root', async () => {
    const [data, cwd] = [await makeData(root), makeDir(root, 'export')];
    const ran = await invoke(data, cwd, ['np'], root);
    expect(ran.status, ran.stderr).toBe(0);
    const withoutDev = (lines: string[]): string[] => lines.filter((line) => !/^\/dev\//.test(line));
    expect(withoutDev(listImage(path.join(cwd, 'np.sqsh')))).toEqual(withoutDev(listImage(image)));
  });

  needing('has what unsquashfs made', async () => {
    const [data, cwd] = [makeDir(ordinaryUser(), 'data'), makeCwd()];
    asUser(`unsquashfs -quiet -no-progress -no-exit-code -no-xattrs -d np '${image}' 2> /dev/null`, data);
    const ran = await invoke(data, cwd, ['-q', 'np']);
    expect(ran.status, ran.stderr).toBe(0);
    const found = listImage(path.join(cwd, 'np.sqsh'));
    expect(found).toEqual(ofRoot(listTree(path.join(data, 'np'))));
    expect(found.length).toBeGreaterThan(30);
  });

  needing('lacks what is of the container only', async () => {
    const [data, cwd] = [await makeData(), makeCwd()];
    const container = path.join(data, 'np');
    const before = listTree(container);
    asUser(
      `rm -rf dev; mkdir -p dev/shm mnt/empty .enroot/x .bundler/y etc/.lock
       echo x > dev/shm/file; echo x > .enroot/x/y; echo x > .bundler/y/z; : > .lock; : > mnt/file; : > etc/kept
       echo content > mnt/closed; ln dev/shm/file mnt/linked; ln dev/shm/file mnt/linked-too
       chmod 0 mnt/empty mnt/file mnt/closed; touch -d @1000000000 mnt dev`,
      container,
    );
    const ran = await invoke(data, cwd, ['-q', 'np']);
    expect(ran.status, ran.stderr).toBe(0);
    const found = listImage(path.join(cwd, 'np.sqsh'));
    const names = (lines: string[]): string[] => lines.map((line) => line.split(' ', 1)[0] as string);
    const expected = names(before).filter((name) => !/^\/(dev\/|\.bundler|\.lock)/.test(name));
    const added = ['/etc/.lock', '/etc/kept', '/mnt', '/mnt/closed', '/mnt/linked', '/mnt/linked-too'];
    if (!expected.includes('/dev')) added.push('/dev');
    expect(names(found).sort()).toEqual([...expected, ...added].sort());
    const hash = (name: string): string | undefined =>
      found.find((line) => line.startsWith(`/mnt/${name} `))?.replace(/^\S+/, '');
    expect(hash('linked')).toContain('links=2 size=2 ');
    expect(hash('linked-too')).toBe(hash('linked'));
  });

  needing('keeps a name that means something in a layer, of which no layer is made', async () => {
    const [data, cwd] = [makeDir(ordinaryUser(), 'data'), makeCwd()];
    asUser('mkdir -p np/usr; echo x > np/usr/.wh.x; echo y > np/x', data);
    expect((await invoke(data, cwd, ['-q', 'np'])).status).toBe(0);
    expect(listImage(path.join(cwd, 'np.sqsh')).map((line) => line.split(' ', 1)[0])).toContain('/usr/.wh.x');
    for (const format of ['oci', 'oci-archive', 'docker-archive']) {
      const ran = await invoke(data, cwd, ['-q', '--format', format, 'np']);
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(/^bundler: cannot export "usr\/\.wh\.x": .*\n {2}try: rename or remove it\n$/);
    }
    expect(readdirSync(cwd)).toEqual(['np.sqsh']);
  });

  needing('obeys ENROOT_SQUASH_OPTIONS and SOURCE_DATE_EPOCH', async () => {
    const [data, cwd] = [makeDir(ordinaryUser(), 'data'), makeCwd()];
    asUser('mkdir np; echo x > np/x', data);
    const env = { ENROOT_DATA_PATH: data, ENROOT_SQUASH_OPTIONS: '-comp gzip -b 64K', SOURCE_DATE_EPOCH: '1000000000' };
    for (const output of ['a.sqsh', 'b.sqsh'])
      expect((await run([bundler, 'export', '-q', '-o', output, 'np'], { cwd, env })).status).toBe(0);
    execFileSync('cmp', [path.join(cwd, 'a.sqsh'), path.join(cwd, 'b.sqsh')]);
    const told = execFileSync('unsquashfs', ['-s', path.join(cwd, 'a.sqsh')], { encoding: 'utf8', env: { TZ: 'UTC' } });
    expect(told).toMatch(/Compression gzip/);
    expect(told).toMatch(/Block size 65536/);
    expect(told).toMatch(/Sep {1,2}9 01:46:40 2001/);
    expect(listImage(path.join(cwd, 'a.sqsh'))[1]).toMatch(/^\/x \S+ \S+ 1000000000 /);
  });

  needing('leaves out what is mounted in it', async () => {
    const [data, cwd] = [makeDir(ordinaryUser(), 'data'), makeCwd()];
    asUser('mkdir -p np/mnt np/etc; echo x > np/etc/x', data);
    execFileSync('mount', ['-t', 'tmpfs', 'none', path.join(data, 'np/mnt')]);
    try {
      writeFileSync(path.join(data, 'np/mnt/outside'), 'x');
      expect((await invoke(data, cwd, ['-q', 'np'])).status).toBe(0);
    } finally {
      execFileSync('umount', [path.join(data, 'np/mnt')]);
    }
    expect(listImage(path.join(cwd, 'np.sqsh')).map((line) => line.split(' ', 1)[0])).not.toContain('/mnt/outside');
  });
});

describe('a container exported as a layer', () => {
  needing('has the configuration of the image that it was loaded from, and the same digest each time', async () => {
    const [data, cwd] = [await makeData(), makeCwd()];
    const digests = new Set();
    for (const output of ['a', 'b']) {
      const ran = await invoke(data, cwd, ['--json', '--format', 'oci', '-o', output, 'np']);
      expect(ran.status, ran.stderr).toBe(0);
      digests.add(JSON.parse(ran.stdout).manifestDigest);
    }
    expect(digests.size).toBe(1);
    expect(readConfig(`oci:${cwd}/a:np:latest`)).toEqual(readConfig(`oci:${layout}:latest`));
  });

  needing('has a configuration and a name where nothing tells of one', async () => {
    const [data, cwd] = [makeDir(ordinaryUser(), 'data'), makeCwd()];
    asUser('mkdir -p _My+Container:1/etc; echo \'A="b c"\' > _My+Container:1/etc/environment', data);
    const ran = await invoke(data, cwd, ['-q', '--format', 'docker-archive', '-o', 'x.tar', '_My+Container:1']);
    expect(ran.status, ran.stderr).toBe(0);
    const told = inspectBySkopeo(`docker-archive:${cwd}/x.tar`);
    expect(told['Env']).toEqual(['A=b c']);
    const tags = execFileSync('skopeo', ['list-tags', `docker-archive:${cwd}/x.tar`], { encoding: 'utf8' });
    expect(JSON.parse(tags).Tags).toEqual(['my-container-1:latest']);
  });
});

describe('an interrupted export', () => {
  for (const format of ['sqsh', 'oci', 'oci-archive', 'docker-archive']) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      needing(`as ${format} leaves nothing behind after ${signal}`, async () => {
        const [data, cwd] = [makeDir(ordinaryUser(), 'data'), makeCwd()];
        asUser('mkdir np; : > np/large', data);
        // Nobody waits for this to be written.
        truncateSync(path.join(data, 'np/large'), 1e12);
        const argv = [bundler, 'export', '-q', '--format', format, '-o', 'out', 'np'];
        const ran = await interruptWriter(argv, signal, { cwd, env: { ENROOT_DATA_PATH: data } });
        expect(ran.stderr).toBe('');
        expect(readdirSync(cwd)).toEqual([]);
      });
    }
  }

  needing('on a full disk tells so and leaves nothing behind', async () => {
    const [data, cwd] = [makeDir(ordinaryUser(), 'data'), makeCwd()];
    asUser('mkdir np; head -c 3000000 /dev/urandom > np/large', data);
    mkdirSync(path.join(cwd, 'small'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=1m,uid=${ordinaryUser().uid}`, 'none', path.join(cwd, 'small')]);
    try {
      for (const format of ['sqsh', 'oci', 'oci-archive', 'docker-archive']) {
        const ran = await invoke(data, cwd, ['-q', '--format', format, '-o', 'small/out', 'np']);
        expect(ran.status, format).toBe(125);
        expect(ran.stderr).toMatch(/^bundler: cannot write .*small.*: no space left on (the )?device\n/);
        expect(readdirSync(path.join(cwd, 'small'))).toEqual([]);
      }
    } finally {
      execFileSync('umount', [path.join(cwd, 'small')]);
    }
  });
});
