// SPDX-License-Identifier: Apache-2.0
import { writeLdCacheText } from '../../src/format/ld-cache-text.ts';
import { encodeFacts, type Fact, frame } from '../../src/format/wire.ts';
import { sampleCache } from './sample-host.ts';

/**
 * A plain launch as a launcher would ask for it: the request frame, the probes frame and the answers to what is asked (docs/plan.md).
 * It decides what the code cache holds. The user is one that no host's files know, as those of LDAP are. gpuHost: the root of a host with a GPU, for a
 * launch that uses it.
 */
export function sampleLaunch(gpuHost?: string): Buffer {
  const request = gpuHost === undefined ? plainRequest : gpuRequest(gpuHost);
  const answers = ['sample:x:4294900000:4294900000::/home/sample:/bin/sh', 'sample:x:4294900000:'];
  const frames = [request, probes, ...answers.map((line): Fact[] => [['answer', `exit 0\n${line}\n`]])];
  return Buffer.concat(frames.map((facts) => frame(encodeFacts(facts))));
}

const digest = '0'.repeat(64);
const sizeBytes = 100 << 20;

const manifest = {
  manifestVersion: 1,
  name: 'sample',
  description: '',
  provenance: { bundler: '0', source: 'sample.sqsh', createdSeconds: 0 },
  image: {
    compressor: 'zstd',
    blockSizeBytes: 131072,
    inodes: 1000,
    usedBytes: sizeBytes,
    sizeBytes,
    digest,
    unpackedBytes: 0,
  },
  rootfs: {
    passwd: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
    group: 'root:x:0:\nnogroup:x:65534:\n',
    environment: 'PATH=/usr/bin:/bin\nLANG=C.UTF-8\n',
    fstab: '',
    osRelease: 'ID=debian\n',
    loginDefs: '',
    useradd: '',
    rc: true,
    rcProvenance: '',
    shell: true,
    debian: true,
  },
  options: { target: '', env: ['A=b'], rc: null, entrypoint: null },
};

const plainRequest: Fact[] = [
  ['wire', '1'],
  ['argv', './sample.run'],
  ['argv', '--env'],
  ['argv', 'OMP_NUM_THREADS=8'],
  ['argv', 'true'],
  ['env', 'HOME=/home/user'],
  ['env', 'PATH=/usr/bin:/bin'],
  ['env', 'TERM=xterm'],
  ['uid', '4294900000'],
  ['gid', '4294900000'],
  ['euid', '4294900000'],
  ['egid', '4294900000'],
  ['groups', '4294900000'],
  ['cwd', '/'],
  ['umask', '0022'],
  ['tty', '012'],
  ['exe', '/sample.run'],
  ['program', '/sample.run'],
  ['launcher', '0'],
  ['kernel', '6.1.0'],
  ['machine', 'x86_64'],
  ['hostname', 'host'],
  ['file-size', String(2 * sizeBytes)],
  ['section', `launcher 0 1000000 1000000 ${digest}`],
  ['section', `runtime 1007616 27000000 120000000 ${digest}`],
  ['section', `payload 30007296 ${sizeBytes} ${sizeBytes} ${digest}`],
  ['manifest', JSON.stringify(manifest)],
  ['cache-dir', '/home/user/.cache/bundler'],
  ['runtime-from', 'warm'],
  ['runtime-dir', '/home/user/.cache/bundler/runtime-0'],
  ['cpus', '8'],
  ['pid', '1000'],
  ['cgroup', '0::/user.slice/user-1000.slice/session-1.scope\n'],
  ['namespaces', '4026531837 4026531836'],
];

function gpuRequest(host: string): Fact[] {
  const loader = {
    libc: 'glibc',
    glibcVersion: '2.36',
    cache: writeLdCacheText(sampleCache('/usr/lib/x86_64-linux-gnu')),
    muslPath: '',
    directories: ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib'],
    cuda: '',
    compat: [],
  };
  const own = JSON.stringify({ ...manifest, rootfs: { ...manifest.rootfs, loader } });
  return [
    ...plainRequest.filter(([name]) => name !== 'manifest' && name !== 'argv'),
    ...['./sample.run', '--gpus', 'all', 'true'].map((word): Fact => ['argv', word]),
    ['manifest', own],
    ['root', host],
  ];
}

const names = ['userns', 'mount', 'fuse', 'overlay', 'tmpfs-xattr', 'seccomp', 'pidfd', 'openat2'];
const probes: Fact[] = [...names.map((name): Fact => [`probe.${name}`, 'ok']), ['probe.loop', 'skipped']];
