// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'vitest';
import { bundler } from './bundle.ts';
import { whyNoCgroups } from './cgroup.ts';
import { repository } from './programs.ts';
import { sanitize } from './sanitize.ts';
import { isRoot, prepareMachine } from './session.ts';

export type Feature =
  | 'root'
  | 'bundler'
  | 'userns'
  | 'fuse'
  | 'mksquashfs'
  | 'busybox'
  | 'strace'
  | 'unsquashfs'
  | 'bash'
  | 'cgroup'
  | 'extrausers'
  | 'slurm'
  | 'dpkg'
  | 'umoci'
  | 'skopeo'
  | 'registry'
  | 'podman'
  | 'buildah'
  | 'bsdtar'
  | 'openssl';

function hasCommand(name: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((dir) => existsSync(path.join(dir, name)));
}

function whyNoCommand(name: string, packageName = name): string | undefined {
  return hasCommand(name) ? undefined : `${name} is missing: apt-get install ${packageName}`;
}

/** As an ordinary user these need sub-uids and more, which say nothing about us. */
function whyNoContainers(name: string): string | undefined {
  return isRoot ? whyNoCommand(name) : `${name} needs root here`;
}

function canMakeUserNamespace(): boolean {
  try {
    const drop = isRoot ? ['setpriv', '--reuid=4242', '--regid=4242', '--clear-groups'] : [];
    const [command = 'unshare', ...rest] = [...drop, 'unshare', '-Ur', 'true'];
    execFileSync(command, rest, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const reasons: Record<Feature, () => string | undefined> = {
  root: () => (isRoot ? undefined : 'needs root (to make a bare host and to drop to other users)'),
  bundler: () =>
    existsSync(bundler)
      ? undefined
      : `dist/${path.basename(bundler)} is missing: npm run build${sanitize ? ' -- --sanitize' : ''}`,
  userns: () => (canMakeUserNamespace() ? undefined : 'an ordinary user can make no user namespace here'),
  fuse: () => {
    prepareMachine();
    if (!existsSync('/dev/fuse')) return '/dev/fuse is missing';
    return (statSync('/dev/fuse').mode & 0o006) === 0o006
      ? undefined
      : '/dev/fuse is not open to all: chmod 666 /dev/fuse';
  },
  mksquashfs: () => (hasCommand('mksquashfs') ? undefined : 'mksquashfs is missing: apt-get install squashfs-tools'),
  unsquashfs: () => (hasCommand('unsquashfs') ? undefined : 'unsquashfs is missing: apt-get install squashfs-tools'),
  busybox: () => (existsSync('/bin/busybox') ? undefined : '/bin/busybox is missing: apt-get install busybox-static'),
  strace: () => (hasCommand('strace') ? undefined : 'strace is missing: apt-get install strace'),
  cgroup: () => whyNoCgroups(),
  dpkg: () => (hasCommand('dpkg-deb') && hasCommand('useradd') ? undefined : 'dpkg is missing: this is not a Debian'),
  slurm: () =>
    ['/usr/sbin/slurmctld', '/usr/sbin/slurmd', '/usr/sbin/munged'].every((file) => existsSync(file))
      ? undefined
      : 'slurm is missing: apt-get install slurmctld slurmd slurm-client munge',
  extrausers: () =>
    existsSync('/usr/lib/libnss_extrausers.so.2')
      ? undefined
      : 'the name service extrausers is missing: apt-get install libnss-extrausers',
  umoci: () => whyNoCommand('umoci'),
  skopeo: () => whyNoCommand('skopeo'),
  registry: () => whyNoCommand('docker-registry') ?? whyNoCommand('htpasswd', 'apache2-utils'),
  podman: () => whyNoContainers('podman'),
  buildah: () => whyNoContainers('buildah'),
  bsdtar: () => whyNoCommand('bsdtar', 'libarchive-tools'),
  openssl: () => whyNoCommand('openssl'),
  bash: () => (existsSync('/bin/bash') ? undefined : '/bin/bash is missing: apt-get install bash'),
};

const known = new Map<Feature, string | undefined>();

/** Why this machine lacks a feature; undefined when it has it. */
function missing(feature: Feature): string | undefined {
  if (!known.has(feature)) known.set(feature, reasons[feature]());
  return known.get(feature);
}

/** True when this machine has all of the features. */
export function hasFeatures(...features: Feature[]): boolean {
  return features.every((feature) => missing(feature) === undefined);
}

/**
 * A `test` that runs only where the features are there. Where one is missing the test is skipped with the reason in its
 * title; with BUNDLER_MUST_WORK=1 it fails instead, so that CI never passes by skipping.
 */
export function testNeeding(
  ...features: Feature[]
): (title: string, body: () => Promise<void> | void, timeoutMs?: number) => void {
  const why = features.map(missing).filter((reason) => reason !== undefined);
  return (title, body, timeoutMs = 60_000) => {
    if (why.length === 0) {
      test(title, { timeout: timeoutMs }, body);
    } else if (process.env['BUNDLER_MUST_WORK'] === '1') {
      test(title, () => {
        throw new Error(`must work here, but: ${why.join('; ')}`);
      });
    } else {
      test.skip(`${title} (skipped: ${why.join('; ')})`, body);
    }
  };
}

/** What nearly every end-to-end test needs. */
export const e2e = testNeeding('root', 'bundler', 'userns', 'fuse', 'mksquashfs', 'busybox');

/** The same for what cannot hold on the build with sanitizers: skipped there, with the reason in the title. */
export function e2eExceptSanitized(reason: string): typeof e2e {
  return sanitize ? (title, body) => test.skip(`${title} (skipped with sanitizers: ${reason})`, body) : e2e;
}

/** The image of the example, which `npm test` and `npm run demo` make where a mirror of Debian can be reached. */
export const exampleImage = path.join(repository, 'build/demo/np-norm-openblas.sqsh') as `/${string}`;

/** A test that needs the image of the example. */
export const withExample: typeof e2e = existsSync(exampleImage)
  ? (title, body, timeoutMs) => e2e(title, body, timeoutMs)
  : (title, body) => test.skip(`${title} (skipped: ${exampleImage} is missing: npm run demo)`, body);
