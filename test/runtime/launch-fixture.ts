// SPDX-License-Identifier: Apache-2.0
import { type Configuration, noConfiguration } from '../../runtime/configuration.ts';
import { runQuestion } from '../../runtime/host-program.ts';
import type { HostFacts, LaunchInput, Resumed } from '../../runtime/launch-input.ts';
import { parseOptions } from '../../runtime/options.ts';
import { planLaunch } from '../../runtime/plan-launch.ts';
import type { Request } from '../../runtime/request.ts';
import { readSettings, type SettingSources, settingsFrom } from '../../runtime/settings.ts';
import type { Manifest, RootfsFacts } from '../../src/format/manifest.ts';
import type { Op, Plan } from '../../src/format/plan.ts';

/** What differs from an ordinary user on an ordinary host with a Debian image. */
export interface Change {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly request?: Partial<Request>;
  readonly manifest?: Partial<Manifest>;
  readonly rootfs?: Partial<RootfsFacts>;
  readonly host?: Partial<HostFacts>;
  readonly sources?: Partial<SettingSources>;
  readonly configuration?: Partial<Configuration>;
  readonly resumed?: Resumed;
  readonly probes?: Readonly<Record<string, string>>;
}

export const allOk = {
  userns: 'ok',
  mount: 'ok',
  fuse: 'ok',
  overlay: 'ok',
  'tmpfs-xattr': 'ok',
  loop: 'skipped',
  seccomp: 'ok',
  pidfd: 'ok',
  openat2: 'ok',
};

const rootfs: RootfsFacts = {
  passwd: 'root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n',
  group: 'root:x:0:\n',
  environment: 'PATH=/usr/bin:/bin\nLANG="C.UTF-8"\n',
  fstab: '',
  osRelease: 'ID=debian\n',
  loginDefs: '',
  useradd: '',
  rc: true,
  rcProvenance: '',
  shell: true,
  debian: true,
};

const manifest: Manifest = {
  manifestVersion: 1,
  name: 'np',
  description: '',
  provenance: { bundler: '0.1.0', source: 'np.sqsh', createdSeconds: 1 },
  image: {
    compressor: 'zstd',
    blockSizeBytes: 131072,
    inodes: 1000,
    usedBytes: 90_000_000,
    sizeBytes: 90_001_408,
    digest: 'ab'.repeat(32),
    unpackedBytes: 280_000_000,
  },
  options: { target: '', env: [], rc: null, entrypoint: null },
};

const request: Request = {
  argv: ['./np.run'],
  env: { HOME: '/home/ann', USER: 'ann', TERM: 'xterm', SECRET: 'hunter2' },
  uid: 4242,
  gid: 4242,
  euid: 4242,
  egid: 4242,
  groups: [4242],
  cwd: '/work',
  tty: '',
  exe: '/work/np.run',
  program: '/work/np.run',
  launcher: '0.1.0',
  kernel: '6.18.0',
  machine: 'x86_64',
  hostname: 'box',
  fileSizeBytes: 120_000_000,
  sections: [
    { name: 'payload', offset: 28_000_256, sizeBytes: 90_001_408, rawSizeBytes: 90_001_408, digest: 'ab'.repeat(32) },
  ],
  cacheDir: '/home/ann/.cache/bundler',
  runtimeFrom: 'warm',
  runtimeDir: '/home/user/.cache/bundler/runtime-0',
  cpus: 2,
  pid: 77,
  cgroup: '0::/user.slice/user-4242.slice/session-1.scope\n',
  namespaces: '4026531837 4026531836',
};

/** The question about the caller that is asked when the host's files do not know him. */
export function getent(database: string, id = 4242): string {
  return runQuestion(['getent', database, String(id)]);
}

const host: HostFacts = {
  devices: null,
  kept: null,
  probes: allOk,
  kinds: {
    '/proc': 'dir',
    '/sys': 'dir',
    '/dev': 'dir',
    '/dev/shm': 'dir',
    '/etc/hosts': 'file',
    '/etc/hostname': 'missing',
    '/etc/resolv.conf': 'file',
    '/etc/machine-id': 'missing',
  },
  passwdLine: 'ann:x:4242:4242:Ann:/home/ann:/bin/bash',
  groupLine: 'staff:x:4242:',
  overflowUid: 65534,
  overflowGid: 65534,
  localtime: null,
  shell: '',
  cgroup: '',
  cgroupMounts: '',
  terminal: '',
  covered: [],
  subids: { subuid: '', subgid: '', newuidmap: '', newgidmap: '' },
  files: {},
  memoryAvailableBytes: 8e9,
  limits: {
    maxUserNamespaces: '15000',
    maxMountNamespaces: '15000',
    usernsClone: '',
    apparmorUserns: '',
    seccomp: '0',
    rootIsMount: 'yes',
  },
  // No getent on this host.
  answers: Object.fromEntries(['passwd', 'group'].map((name) => [getent(name), 'failed 2\n'])),
};

/** A launch, given as what differs from the ordinary one. */
export function makeInput(change: Change = {}): LaunchInput {
  const options = parseOptions(change.args ?? []);
  const configuration = { ...noConfiguration, ...change.configuration };
  const asked = { ...request, env: { ...request.env, ...change.env }, ...change.request };
  return {
    manifest: { ...manifest, rootfs: { ...rootfs, ...change.rootfs }, ...change.manifest },
    request: asked,
    options,
    settings: readSettings(
      { ...settingsFrom(asked.env), builtins: configuration.builtins, ...change.sources },
      options,
    ),
    configuration,
    resumed: change.resumed ?? null,
    host: {
      ...host,
      ...change.host,
      kinds: { ...host.kinds, ...change.host?.kinds },
      probes: { ...allOk, ...change.probes },
      limits: { ...host.limits, ...change.host?.limits },
    },
  };
}

/** The plan of a launch that asks nothing. */
export function planOf(change: Change = {}): Plan {
  const made = planLaunch(makeInput(change));
  if ('ask' in made) throw new Error(`asks ${made.ask}`);
  return made.plan;
}

/** The operations of one kind. */
export function pick<N extends Op['op']>(plan: Plan, name: N): Extract<Op, { op: N }>[] {
  return plan.filter((op): op is Extract<Op, { op: N }> => op.op === name);
}

export function names(plan: Plan): string[] {
  return plan.map(({ op }) => op).filter((op, index, all) => op !== all[index - 1]);
}

export function environmentOf(change: Change = {}): Record<string, string> {
  const [env] = pick(planOf(change), 'env');
  return Object.fromEntries((env?.vars ?? []).map((item) => [item.split('=')[0], item.slice(item.indexOf('=') + 1)]));
}

/** The content of one of our files, however the plan shows it. */
export function shownFile(plan: Plan, path: string): string | undefined {
  for (const op of plan) {
    if (op.op === 'entry' && op.kind === 2 && op.path === path) return op.data;
    if ((op.op === 'file' || op.op === 'inject') && op.path === path) return op.content;
  }
  return undefined;
}
