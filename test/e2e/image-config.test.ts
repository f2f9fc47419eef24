// SPDX-License-Identifier: Apache-2.0
import { describe, expect } from 'vitest';
import type { ImageConfig } from '../../src/format/manifest.ts';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { giveConfig } from '../support/image-config.ts';
import { run, start } from '../support/run.ts';

const config: ImageConfig = {
  entrypoint: ['/bin/sh', '-c', 'echo "$0 $*|$(id -u):$(id -g)|$(whoami)|$PWD|$HOME|$FROM_IMAGE"'],
  cmd: ['default', 'words'],
  env: ['FROM_IMAGE=variable', 'PATH=/usr/bin:/bin'],
  workdir: '/usr',
  user: 'bin',
};
/** An image without /etc/rc and /etc/environment, as docker's are. */
const bundle = (name: string, change: Partial<ImageConfig> = {}) =>
  giveConfig(makeBundle('no-rc'), name, { ...config, ...change });
const show = async (file: string, ...args: string[]) => {
  const ran = await run([file, ...args]);
  expect(ran.stderr).toBe('');
  return ran.stdout.trimEnd();
};

describe('an image with an OCI configuration', () => {
  e2e('runs ENTRYPOINT with CMD in WORKDIR as USER, with its ENV', async () => {
    expect(await show(bundle('full'))).toBe('default words|2:2|bin|/usr|/bin|variable');
  });

  e2e('has CMD replaced by arguments, as docker run does', async () => {
    expect(await show(bundle('full'), 'my', 'own words')).toBe('my own words|2:2|bin|/usr|/bin|variable');
  });

  e2e('--entrypoint, --workdir, --user and --env come before it', async () => {
    const args = ['--workdir', '/etc', '--user', '7:8', '--env', 'FROM_IMAGE=mine', '--entrypoint', 'sh', '--'];
    expect(await show(bundle('full'), ...args, '-c', 'pwd; id -u; id -g; echo "$FROM_IMAGE"')).toBe('/etc\n7\n8\nmine');
  });

  e2e('with the USER root runs as the caller, and as root when asked to', async () => {
    const file = bundle('root', { user: 'root' });
    expect(await show(file)).toMatch(/\|4242:4242\|/);
    expect(await show(file, '--root')).toMatch(/\|0:0\|root\|\/usr\|\/root\|/);
  });

  e2e('with a USER that it does not have says so, and how to go on', async () => {
    const ran = await run([bundle('nobody-here', { user: 'ghost' })]);
    expect(ran).toMatchObject({
      status: 125,
      stderr:
        "bundler: the image's USER ghost: the image has no user ghost\n  try: choose one yourself: --user UID:GID, or --root\n",
    });
    expect(await show(bundle('nobody-here', { user: 'ghost' }), '--user', '5:6')).toMatch(/\|5:6\|/);
  });

  e2e('gets its StopSignal when the visible process is sent SIGTERM, with --init', async () => {
    const script = 'trap "echo stopping; exit 3" QUIT; echo ready; while :; do sleep 0.05; done';
    const file = bundle('stop', { entrypoint: ['/bin/sh', '-c', script], stopSignal: 'SIGQUIT' });
    const running = start([file, '--init']);
    await running.see(/ready\n/);
    running.child.kill('SIGTERM');
    expect(await running.end()).toMatchObject({ status: 3, stdout: 'ready\nstopping\n' });
  });
});
