// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bundler, findSection } from '../support/bundle.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { testNeeding } from '../support/features.ts';
import { registryPassword, registryUser, startRegistry, type TestRegistry } from '../support/registry.ts';
import { type Ran, run, start } from '../support/run.ts';
import { listImage, listUnpacked, makeSampleLayout, readConfig } from '../support/sample-image.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { until } from '../support/snapshot.ts';

const needing = testNeeding('root', 'bundler', 'registry', 'skopeo', 'umoci');

let registry: TestRegistry;
let proxy: FaultProxy;
let layout = '';
let home = '';
let temporary = '';

const login = { BUNDLER_REGISTRY_USER: registryUser, BUNDLER_REGISTRY_PASSWORD: registryPassword };

function push(name: string, argv: readonly string[], env: Readonly<Record<string, string>> = login): Promise<Ran> {
  return run([bundler, 'export', '--format', `docker://${name}`, ...argv], {
    cwd: home,
    env: { ENROOT_TEMP_PATH: temporary, ...env },
  });
}

async function succeed(ran: Promise<Ran>): Promise<{ sentBytes: number; manifestDigest: string; sizeBytes: number }> {
  const { status, stdout, stderr } = await ran;
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout);
}

/** The tree that an image of the registry has. */
async function pullTree(name: string): Promise<string[]> {
  const copy = path.join(makeDir(ordinaryUser(), 'pulled'), 'copy');
  await registry.pull(name, `oci:${copy}:x`);
  return listUnpacked(`${copy}:x`);
}

/** A directory with a container `np` that has a file of 1 TB. */
function makeLargeContainer(): string {
  const data = makeDir(ordinaryUser(), 'data');
  mkdirSync(path.join(data, 'np'));
  execFileSync('truncate', ['-s', '1T', path.join(data, 'np/large')]);
  execFileSync('chown', ['-R', `${ordinaryUser().uid}`, data]);
  return data;
}

beforeAll(async () => {
  registry = await startRegistry({ auth: 'htpasswd' });
  proxy = await startFaultProxy(registry.url);
  layout = makeSampleLayout();
  home = makeDir(ordinaryUser(), 'push');
  temporary = path.join(home, 'temporary');
  mkdirSync(temporary);
  for (const argv of [
    ['import', '-q', '-o', 'np.sqsh', `oci:${layout}`],
    ['make', '-q', 'np.sqsh'],
  ]) {
    const ran = await run([bundler, ...argv], { cwd: home });
    expect(ran.status, ran.stderr).toBe(0);
  }
  execFileSync('chown', ['-R', `${ordinaryUser().uid}`, home]);
});

afterAll(async () => {
  await proxy?.stop();
  await registry?.stop();
});

describe('an image pushed to a registry', () => {
  needing('is pulled by skopeo with its configuration and its tree, and is sent once', async () => {
    const name = `${proxy.host}/team/np:1`;
    proxy.reset();
    const first = await succeed(push(name, ['--json', 'np.sqsh']));
    expect(first).toEqual({
      output: `docker://${proxy.host}#team/np:1`,
      sizeBytes: expect.any(Number),
      manifestDigest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      config: expect.objectContaining({ digest: expect.any(String) }),
      layers: [expect.objectContaining({ digest: expect.any(String), diffId: expect.any(String) })],
      sentBytes: expect.any(Number),
    });
    expect(first.sentBytes).toBeGreaterThan(100_000);
    const credentials = ['--creds', `${registryUser}:${registryPassword}`, '--tls-verify=false'];
    expect(readConfig(`docker://${registry.host}/team/np:1`, ...credentials)).toEqual(
      readConfig(`oci:${layout}:latest`),
    );
    expect(await pullTree('team/np:1')).toEqual(listImage(path.join(home, 'np.sqsh')));

    proxy.reset();
    for (const source of ['np.sqsh', 'np.run']) {
      const again = await succeed(push(`${proxy.host}/team/np:2`, ['--json', source]));
      expect(again).toMatchObject({ sentBytes: 0, manifestDigest: first.manifestDigest });
    }
    expect(proxy.requests.filter(({ method }) => method === 'POST' || method === 'PATCH')).toEqual([]);
    expect(readdirSync(temporary)).toEqual([]);
  });

  needing('needs no cache', async () => {
    const env = { ...login, ENROOT_CACHE_PATH: '/proc/cache' };
    await succeed(push(`${proxy.host}/team/np:uncached`, ['--json', 'np.sqsh'], env));
  });

  needing('is imported again, and tells what it did', async () => {
    const ran = await push(`${registry.host}/team/told:1`, ['--compression', 'zstd', 'np.run']);
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toMatch(/^docker:\/\/127\.0\.0\.1:\d+#team\/told:1 \(\d.* sent\) sha256:[0-9a-f]{64}\n$/);
    expect((await push(`${registry.host}/team/told:1`, ['--compression', 'zstd', 'np.run'])).stdout).toContain(
      'the registry had it',
    );
    const cwd = makeDir(ordinaryUser(), 'again');
    const imported = await run([bundler, 'import', '-q', '-o', 'x.sqsh', `docker://${registry.host}/team/told:1`], {
      cwd,
      env: { ...login, ENROOT_CACHE_PATH: path.join(cwd, 'cache') },
    });
    expect(imported.status, imported.stderr).toBe(0);
    const known = (lines: string[]): string[] =>
      lines.filter((line) => !/^\/etc\/(rc|bundler\/image.json) /.test(line));
    expect(known(listImage(path.join(cwd, 'x.sqsh')))).toEqual(known(listImage(path.join(home, 'np.sqsh'))));
  });

  needing('of a container comes with its name and the mark of its image', async () => {
    const data = makeDir(ordinaryUser(), 'data');
    const env = { ...login, ENROOT_DATA_PATH: data };
    const loaded = await run([bundler, 'load', '-q', '-n', 'np', `oci:${layout}`], { env });
    expect(loaded.status, loaded.stderr).toBe(0);
    await succeed(push(`${registry.host}/team/container`, ['--json', 'np'], env));
    const names = (await pullTree('team/container:latest')).map((line) => line.split(' ', 1)[0]);
    expect(names).toContain('/closed/shut/inside');
    expect(names).not.toContain('/dev/null');
  });
});

describe('a push that cannot be', () => {
  needing('without a password tells where to give one, before there is work for nothing', async () => {
    // Nobody waits for its layer.
    const data = makeLargeContainer();
    const ran = await push(`${registry.host}/team/x:1`, ['np'], { ENROOT_DATA_PATH: data });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^bundler: .*\n {2}try: .*/);
    expect(ran.stderr).toMatch(/--user|BUNDLER_REGISTRY_USER/);
    expect(ran.stderr).not.toContain('a bug');
  });

  needing('with a wrong password tells so, and not which', async () => {
    const ran = await push(`${registry.host}/team/x:1`, ['--verbose', 'np.sqsh'], {
      ...login,
      BUNDLER_REGISTRY_PASSWORD: 'not-the-password',
    });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/\n {2}try: /);
    expect(ran.stderr).not.toContain('not-the-password');
  });

  needing('takes the password of --user from stdin', async () => {
    const ran = await run(
      [
        bundler,
        'export',
        '--format',
        `docker://${registry.host}/team/stdin:1`,
        '--user',
        registryUser,
        '--password-stdin',
        '--json',
        'np.sqsh',
      ],
      { cwd: home, env: { ENROOT_TEMP_PATH: temporary }, input: `${registryPassword}\n` },
    );
    expect(ran.status, ran.stderr).toBe(0);
  });

  needing('to a registry that is not there tells so', async () => {
    const ran = await push('127.0.0.1:1/team/x:1', ['np.sqsh'], { ENROOT_TRANSFER_RETRIES: '0' });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^bundler: .*127\.0\.0\.1:1.*\n/);
  });

  needing('in a temporary directory that is not there names it', async () => {
    const ran = await push(`${registry.host}/team/y:1`, ['np.sqsh'], { ...login, ENROOT_TEMP_PATH: '/nonexistent/x' });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^bundler: cannot write to the directory \/nonexistent\/x: no such file or directory\n/);
  });

  needing('on a full disk names the place', async () => {
    const small = path.join(home, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=64k,uid=${ordinaryUser().uid}`, 'none', small]);
    try {
      const ran = await push(`${registry.host}/team/y:1`, ['np.sqsh'], { ...login, ENROOT_TEMP_PATH: small });
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(/^bundler: cannot write .*small: no space left on the device\n/);
    } finally {
      execFileSync('umount', [small]);
    }
  });

  needing('because of a damaged bundle sends nothing', async () => {
    const damaged = path.join(home, 'damaged.run');
    const bytes = readFileSync(path.join(home, 'np.run'));
    const { offset, size } = findSection(path.join(home, 'np.run'), 'payload');
    bytes.fill(0, offset + (size >> 1), offset + (size >> 1) + 1000);
    writeFileSync(damaged, bytes);
    chmodSync(damaged, 0o755);
    proxy.reset();
    const ran = await push(`${proxy.host}/team/damaged:1`, ['damaged.run']);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain('its payload is damaged');
    expect(proxy.requests).toEqual([]);
  });

  needing('interrupted leaves no file and no tag', async () => {
    const data = makeLargeContainer();
    const running = start([bundler, 'export', '-q', '--format', `docker://${registry.host}/team/z:1`, 'np'], {
      cwd: home,
      env: { ...login, ENROOT_TEMP_PATH: temporary, ENROOT_DATA_PATH: data },
      detached: true,
    });
    // The file that it writes to has no name.
    const isWriting = (): boolean => {
      try {
        const directory = `/proc/${running.pid}/fd`;
        return readdirSync(directory).some((fd) => readlinkSync(`${directory}/${fd}`).startsWith(temporary));
      } catch {
        return false;
      }
    };
    await until(
      () => isWriting() || running.child.exitCode !== null,
      () => running.complaints,
    );
    process.kill(-running.pid, 'SIGINT');
    const ran = await running.end();
    expect(ran.signal, ran.stderr).toBe('SIGINT');
    expect(readdirSync(temporary)).toEqual([]);
  });
});
