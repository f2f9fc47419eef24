// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { e2e, testNeeding } from '../support/features.ts';
import { writeLayout } from '../support/oci-layout.ts';
import { makeRawTar } from '../support/raw-tar.ts';
import { registryPassword, registryUser, startRegistry, type TestRegistry } from '../support/registry.ts';
import { type Ran, run, start } from '../support/run.ts';
import { makeSampleLayout, sampleConfig } from '../support/sample-image.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { until } from '../support/snapshot.ts';

const withSkopeo = testNeeding('root', 'bundler', 'userns', 'fuse', 'skopeo');
const withRegistry = testNeeding('root', 'bundler', 'userns', 'fuse', 'skopeo', 'registry');

let layout = '';
let many = '';
let registry: TestRegistry | undefined;

const makeCwd = (): string => makeDir(ordinaryUser(), 'make');

function make(cwd: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  return run([bundler, 'make', ...argv], {
    cwd,
    env: { ENROOT_CACHE_PATH: path.join(cwd, '..', 'cache-make'), ...env },
  });
}

const greeting = 'hello there from /names/a place as 4242\n';

beforeAll(() => {
  layout = makeSampleLayout();
  // Its import takes long enough to be interrupted.
  const files = Array.from({ length: 40_000 }, (_, i) => ({ name: `f${i}`, content: `${i}` }));
  many = path.join(makeCwd(), 'many');
  writeLayout(many, [{ tar: makeRawTar(files), encoding: 'none' }]);
});

afterAll(async () => {
  await registry?.stop();
});

describe('a bundle made of an image', () => {
  e2e('has a variable of several lines, which /etc/environment cannot have, as make says', async () => {
    const cwd = makeCwd();
    const files = [
      { name: 'bin/' },
      { name: 'bin/busybox', content: readFileSync('/bin/busybox'), mode: 0o755 },
      { name: 'bin/sh', type: '2', link: 'busybox' },
    ];
    writeLayout(path.join(cwd, 'lines'), [{ tar: makeRawTar(files) }], { Env: ['LINES=one\ntwo', 'PLAIN=x'] });
    const made = await make(cwd, ['oci:lines', '-o', 'x.run']);
    expect(made.status, made.stderr).toBe(0);
    expect(made.stderr).toContain('left out of /etc/environment, as its value has several lines: LINES\n');
    const ran = await run([path.join(cwd, 'x.run'), 'sh', '-c', 'echo "$LINES $PLAIN"; busybox cat /etc/environment'], {
      cwd,
    });
    expect(ran).toMatchObject({ status: 0, stdout: 'one\ntwo x\nPLAIN=x\n' });
  });

  e2e('of a layout starts as its configuration says, and is all that is made', async () => {
    const cwd = makeCwd();
    const made = await make(cwd, [`oci:${layout}`]);
    expect(made.status, made.stderr).toBe(0);
    expect(made.stdout).toMatch(/^layout\+latest\.run \(.*\)\n$/);
    expect(readdirSync(cwd)).toEqual(['layout+latest.run']);
    expect(statSync(path.join(cwd, 'layout+latest.run')).mode & 0o777).toBe(0o755);
    const bundle = path.join(cwd, 'layout+latest.run');
    expect(await run([bundle], { cwd })).toMatchObject({ status: 0, stdout: greeting, stderr: '' });
    // The entry point stays, arguments take the command's place.
    expect(await run([bundle, 'echo "$QUOTED"; ls /names | wc -l; exit 3'], { cwd })).toMatchObject({
      status: 3,
      stdout: 'it\'s "so"\n7\n',
    });
    const info = await run([bundle, '--info'], { cwd });
    expect(info.stdout).toContain(`oci:${layout}`);
    const inspected = JSON.parse((await run([bundler, 'inspect', '--json', bundle], { cwd })).stdout);
    expect(JSON.stringify(inspected)).toContain(`oci:${layout}`);
  });

  e2e('starts as its user', async () => {
    const cwd = makeCwd();
    const other = makeSampleLayout({ ...sampleConfig, User: '1000:100' });
    expect((await make(cwd, ['-q', `oci:${other}`])).status).toBe(0);
    const ran = await run([path.join(cwd, 'layout+latest.run'), 'id -u; id -g'], { cwd });
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toBe('1000\n100\n');
  });

  e2e('has what options say instead, in another directory', async () => {
    const cwd = makeCwd();
    mkdirSync(path.join(cwd, 'out'));
    execFileSync('chown', [`${ordinaryUser().uid}`, path.join(cwd, 'out')]);
    const argv = [
      '--json',
      '-o',
      'out/x.run',
      '--name',
      'nice',
      '--env',
      'GREETING=hi',
      '--arch',
      'amd64',
      '-d',
      'mine',
      `oci:${layout}`,
    ];
    const made = await make(cwd, argv);
    expect(made.status, made.stderr).toBe(0);
    expect(made.stderr).toBe('');
    expect(JSON.parse(made.stdout)).toEqual({
      output: 'out/x.run',
      sizeBytes: statSync(path.join(cwd, 'out/x.run')).size,
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      payloadOffset: expect.any(Number),
    });
    expect(readdirSync(cwd, { recursive: true }).sort()).toEqual(['out', 'out/x.run']);
    expect((await run([path.join(cwd, 'out/x.run')], { cwd })).stdout).toBe('hi from /names/a place as 4242\n');
    expect((await run([path.join(cwd, 'out/x.run'), '--info'], { cwd })).stdout).toMatch(/\bnice\b/);
  });

  e2e('is the same each time with SOURCE_DATE_EPOCH', async () => {
    const cwd = makeCwd();
    for (const output of ['a.run', 'b.run'])
      expect((await make(cwd, ['-q', '-o', output, `oci:${layout}`], { SOURCE_DATE_EPOCH: '1700000000' })).status).toBe(
        0,
      );
    execFileSync('cmp', [path.join(cwd, 'a.run'), path.join(cwd, 'b.run')]);
  });

  withSkopeo('of a docker archive starts', async () => {
    const cwd = makeCwd();
    const plain = makeSampleLayout(sampleConfig, 'gzip');
    const from = ['copy', '--insecure-policy', '-q', `oci:${plain}:latest`];
    execFileSync('skopeo', [...from, `docker-archive:${cwd}/saved.tar:np:1`], { stdio: 'pipe' });
    execFileSync('chmod', ['644', `${cwd}/saved.tar`]);
    expect((await make(cwd, ['-q', 'docker-archive:saved.tar'])).status).toBe(0);
    expect(readdirSync(cwd).sort()).toEqual(['np+1.run', 'saved.tar']);
    expect((await run([path.join(cwd, 'np+1.run')], { cwd })).stdout).toBe(greeting);
  });

  withRegistry('of a registry starts, and tells where it is from', async () => {
    registry = await startRegistry({ auth: 'htpasswd' });
    await registry.push(`oci:${layout}:latest`, 'team/np:1.2');
    const cwd = makeCwd();
    const env = { ENROOT_CACHE_PATH: path.join(cwd, 'cache'), BUNDLER_PASSWORD: registryPassword };
    const made = await make(cwd, ['--user', registryUser, `docker://${registry.host}/team/np:1.2`], env);
    expect(made.status, made.stderr).toBe(0);
    expect(readdirSync(cwd).sort()).toEqual(['cache', 'team+np+1.2.run']);
    const bundle = path.join(cwd, 'team+np+1.2.run');
    expect((await run([bundle], { cwd })).stdout).toBe(greeting);
    expect((await run([bundle, '--info'], { cwd })).stdout).toContain(`docker://${registry.host}#team/np:1.2`);
    // From the cache, with the registry asked for the manifest only.
    const again = await make(
      cwd,
      ['-f', '--json', '--user', registryUser, `docker://${registry.host}/team/np:1.2`],
      env,
    );
    expect(JSON.parse(again.stdout)).toMatchObject({ output: 'team+np+1.2.run' });
    const other = await make(
      cwd,
      ['-f', '--arch', 'arm64', '--user', registryUser, `docker://${registry.host}/team/np:1.2`],
      env,
    );
    expect(other.stderr).not.toContain('a bug');
    const refused = await make(cwd, ['-f', `docker://${registry.host}/team/np:1.2`], {
      ENROOT_CACHE_PATH: path.join(cwd, 'cache'),
    });
    expect(refused.status).toBe(125);
    expect(refused.stderr).toContain('--user');
  });
});

describe('a make of an image that fails', () => {
  e2e('because of the output’s existence does so before the import', async () => {
    const cwd = makeCwd();
    writeFileSync(path.join(cwd, 'layout+latest.run'), 'precious');
    const ran = await make(cwd, [`oci:${layout}`]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/layout\+latest\.run: it exists\n {2}try: .*--force/);
    // Which is told when a layer has come.
    expect(ran.stderr).not.toContain('layer 1 of 2');
    const other = await make(cwd, ['--rc', 'none', '-o', 'x.run', `oci:${layout}`]);
    expect(other.stderr).toMatch(/cannot read the script none: no such file or directory\n$/);
    expect(other.stderr).not.toContain('layer 1 of 2');
    expect(readdirSync(cwd)).toEqual(['layout+latest.run']);
  });

  e2e('because of what is no image leaves nothing', async () => {
    const cwd = makeCwd();
    for (const [image, message] of [
      ['oci:/nonexistent', /nonexistent/],
      ['docker://', /^bundler: /],
      ['docker-archive:none.tar', /none\.tar.*no such file/],
      ['oci:x/../../../etc', /etc/],
    ] as const) {
      const ran = await make(cwd, [image]);
      expect(ran.status, image).toBe(125);
      expect(ran.stderr).toMatch(message);
      expect(ran.stderr).not.toContain('a bug');
    }
    expect(readdirSync(cwd)).toEqual([]);
  });

  e2e('in a directory that is not there names it', async () => {
    const ran = await make(makeCwd(), ['-o', 'none/x.run', `oci:${layout}`]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/cannot write to the directory none: no such file or directory/);
  });

  e2e('on a full disk names it', async () => {
    const small = path.join(makeCwd(), 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=200k,uid=${ordinaryUser().uid}`, 'none', small]);
    try {
      const ran = await make(small, [`oci:${layout}`], { ENROOT_CACHE_PATH: '/nonexistent' });
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(/^bundler: cannot write .*: no space left on (the )?device\n/m);
      expect(readdirSync(small)).toEqual([]);
    } finally {
      execFileSync('umount', [small]);
    }
  });

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
    e2e(`because of ${signal} during the import leaves nothing`, async () => {
      const cwd = makeCwd();
      const running = start([bundler, 'make', '-q', '-o', 'x.run', `oci:${many}`], { cwd, detached: true });
      await until(
        () => opens(running.pid, cwd) || running.child.exitCode !== null,
        () => running.complaints,
      );
      process.kill(signal === 'SIGTERM' ? running.pid : -running.pid, signal);
      const ran = await running.end();
      expect(ran.signal, ran.stderr).toBe(signal);
      expect(readdirSync(cwd)).toEqual([]);
    });
  }
});

/** Whether a process has a file of a directory open, also one without a name. */
function opens(pid: number, directory: string): boolean {
  const found = execFileSync('sh', ['-c', `ls -l /proc/${pid}/fd 2> /dev/null || true`], { encoding: 'utf8' });
  return found.includes(`${directory}/`);
}
