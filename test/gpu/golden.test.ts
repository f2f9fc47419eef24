// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { collectEnvironment } from '../../runtime/environment.ts';
import { readDevices } from '../../runtime/gpu/collect.ts';
import { reportDevices } from '../../runtime/gpu/report.ts';
import { writeReport } from '../../runtime/gpu/report-text.ts';
import type { LaunchInput } from '../../runtime/launch-input.ts';
import { writeLdCacheText } from '../../src/format/ld-cache-text.ts';
import type { LoaderFacts } from '../../src/format/manifest.ts';
import { type Change, makeInput } from '../runtime/launch-fixture.ts';
import { type HostFiles, makeHost } from './host-tree.ts';
import { cacheOf, debian, driverLibraries, driverModule, h200, migParts, packages, tools, twoGpus } from './hosts.ts';

const node = { node: true } as const;
const multiarch = '/usr/lib/x86_64-linux-gnu';

const imageCache = writeLdCacheText(
  ['libz.so.1', 'libcuda.so.1', 'libc.so.6'].map((name) => ({
    name,
    path: `${multiarch}/${name}`,
    flags: 0x0303,
    osVersion: 0,
    hwcap: 0n,
    hwcapName: '',
  })),
);
const glibc: LoaderFacts = {
  libc: 'glibc',
  glibcVersion: '2.36',
  cache: imageCache,
  muslPath: '',
  directories: ['/usr/lib/x86_64-linux-gnu', '/lib/x86_64-linux-gnu', '/usr/lib', '/lib'],
  cuda: '',
  compat: [],
};
const images = {
  debian: { debian: true, loader: glibc },
  rhel: { debian: false, loader: { ...glibc, directories: ['/usr/lib64', '/lib64', '/usr/lib', '/lib'] } },
  alpine: {
    debian: false,
    loader: { ...glibc, libc: 'musl', glibcVersion: '', cache: '', directories: ['/usr/lib', '/lib'] },
  },
  distroless: { debian: false, loader: { ...glibc, cache: '' } },
  old: { debian: false, loader: { ...glibc, glibcVersion: '2.12' } },
} as const;

/** One host and one image: what is asked for, and what is planned for it. */
interface Case extends Change {
  readonly host?: never;
  readonly files: HostFiles;
  readonly image?: keyof typeof images;
  /** Outputs of nvidia-smi, by its first argument. */
  readonly smi?: Readonly<Record<string, string>>;
  readonly kept?: boolean;
}

const all = ['--gpus', 'all'];
const smiLog = (gpus: string) => `<nvidia_smi_log><cuda_version>12.4</cuda_version>${gpus}</nvidia_smi_log>`;

const cases: Record<string, Case> = {
  'debian-multiarch': { files: debian, args: all },
  'rhel-lib64': {
    files: { ...driverModule([h200]), ...driverLibraries('/usr/lib64'), ...cacheOf('/usr/lib64'), ...tools },
    image: 'rhel',
    args: all,
  },
  'debian-nvidia-current': {
    files: {
      ...driverModule([h200]),
      ...driverLibraries(`${multiarch}/nvidia/current`),
      ...cacheOf(multiarch),
      [`${multiarch}/libcuda.so.1`]: { link: 'nvidia/current/libcuda.so.1' },
      [`${multiarch}/libnvidia-ml.so.1`]: { link: 'nvidia/current/libnvidia-ml.so.1' },
    },
    args: all,
  },
  'odd-directory-by-cache': {
    files: {
      ...driverModule([h200]),
      ...driverLibraries('/opt/cloud/gpu/lib'),
      ...cacheOf('/opt/cloud/gpu/lib'),
      '/usr/local/nvidia/bin/nvidia-debugdump': '',
    },
    args: all,
  },
  nixos: { files: { ...driverModule([h200]), ...driverLibraries('/run/opengl-driver/lib') }, args: all },
  'no-cache': { files: { ...driverModule([h200]), ...driverLibraries('/usr/lib64') }, args: all },
  'alpine-image': { files: debian, image: 'alpine', args: all },
  'distroless-image': { files: debian, image: 'distroless', args: all },
  'image-with-old-glibc': { files: debian, image: 'old', args: all },
  'kept-root': { files: debian, args: [...all, '--keep'] },
  'all-capabilities': {
    files: {
      ...debian,
      ...driverModule([{ ...h200, drm: 3 }]),
      ...driverLibraries('/usr/lib/i386-linux-gnu', undefined, false),
      ...cacheOf(multiarch, undefined, '/usr/lib/i386-linux-gnu'),
      '/usr/share/glvnd/egl_vendor.d/10_nvidia.json': '{}',
      '/usr/share/vulkan/icd.d/nvidia_icd.json': '{}',
      '/etc/OpenCL/vendors/nvidia.icd': '',
      '/dev/gdrdrv': node,
    },
    args: all,
    env: { NVIDIA_DRIVER_CAPABILITIES: 'all' },
  },
  'utility-alone': { files: debian, args: all, env: { NVIDIA_DRIVER_CAPABILITIES: 'utility' } },
  'one-of-two': { files: { ...packages, ...driverModule(twoGpus) }, args: ['--gpus', '1'] },
  'by-uuid': {
    files: { ...packages, ...driverModule(twoGpus) },
    env: { NVIDIA_VISIBLE_DEVICES: 'gpu-AAAAAAAA-0000-0000-0000-000000000001' },
  },
  none: { files: { ...packages, ...driverModule(twoGpus) }, args: ['--gpus', 'none'] },
  'bad-index': { files: { ...packages, ...driverModule(twoGpus) }, args: ['--gpus', '7'] },
  'mig-all': { files: { ...debian, ...migParts(0, [3, 5]) }, args: all },
  'mig-one': {
    files: { ...debian, ...migParts(0, [3, 5]) },
    args: ['--gpus', 'MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135'],
    smi: {
      '-L':
        'GPU 0: NVIDIA H200 (UUID: GPU-11111111-2222-3333-4444-555555555555)\n' +
        '  MIG 1g.18gb     Device  0: (UUID: MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135)\n' +
        '  MIG 1g.18gb     Device  1: (UUID: MIG-7b5b2e2e-0000-0000-0000-0e8fb7067135)\n',
      '-q': smiLog(
        '<gpu id="00000000:00:06.0"><uuid>GPU-11111111-2222-3333-4444-555555555555</uuid><mig_mode><current_mig>Enabled</current_mig></mig_mode><mig_devices>' +
          '<mig_device><index>0</index><gpu_instance_id>5</gpu_instance_id><compute_instance_id>0</compute_instance_id></mig_device>' +
          '<mig_device><index>1</index><gpu_instance_id>3</gpu_instance_id><compute_instance_id>0</compute_instance_id></mig_device>' +
          '</mig_devices></gpu>',
      ),
    },
  },
  'imex-channel': {
    files: {
      ...debian,
      '/dev/nvidia-caps-imex-channels/channel0': node,
      '/dev/nvidia-caps-imex-channels/channel1': node,
    },
    args: all,
    env: { NVIDIA_IMEX_CHANNELS: '1' },
  },
  wsl2: {
    files: {
      '/dev/dxg': node,
      ...Object.fromEntries(
        ['libcuda.so', 'libcuda.so.1', 'libcuda.so.1.1', 'libdxcore.so', 'libnvidia-ml.so.1', 'nvidia-smi'].map(
          (name) => [`/usr/lib/wsl/lib/${name}`, ''],
        ),
      ),
      '/usr/lib/wsl/drivers/nv_dispi.inf_amd64_0123456789abcdef/libcuda.so.1.1': '',
    },
    args: all,
  },
  jetson: {
    files: {
      '/etc/nv_tegra_release': '# R36 (release), REVISION: 4.0\n',
      '/etc/nvidia-container-runtime/host-files-for-container.d/drivers.csv':
        'dev, /dev/nvhost-gpu\nlib, /usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1\nsym, /usr/lib/aarch64-linux-gnu/nvidia/libcuda.so\ndir, /usr/lib/firmware/tegra\n',
      '/dev/nvhost-gpu': node,
      '/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1': '',
      '/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so': { link: 'libcuda.so.1.1' },
    },
    args: all,
    request: { machine: 'aarch64' },
  },
  amd: {
    files: {
      '/dev/kfd': node,
      '/dev/dri/card0': node,
      '/dev/dri/renderD128': node,
      '/dev/dri/card1': node,
      '/dev/dri/renderD129': node,
      '/sys/module/amdgpu/drivers/pci:amdgpu/0000:c1:00.0/uevent': '',
      '/sys/module/amdgpu/drivers/pci:amdgpu/0000:c3:00.0/uevent': '',
      '/sys/bus/pci/devices/0000:c1:00.0/drm/card0/dev': '',
      '/sys/bus/pci/devices/0000:c1:00.0/drm/renderD128/dev': '',
      '/sys/bus/pci/devices/0000:c3:00.0/drm/card1/dev': '',
      '/sys/bus/pci/devices/0000:c3:00.0/drm/renderD129/dev': '',
    },
    args: ['--gpus', '1'],
  },
  intel: {
    files: {
      '/dev/dri/card0': node,
      '/dev/dri/renderD128': node,
      '/sys/bus/pci/drivers/xe/0000:03:00.0/class': '0x030000\n',
      '/sys/bus/pci/devices/0000:03:00.0/class': '0x030000\n',
      '/sys/bus/pci/devices/0000:03:00.0/vendor': '0x8086\n',
      '/sys/bus/pci/devices/0000:03:00.0/drm/card0/dev': '',
      '/sys/bus/pci/devices/0000:03:00.0/drm/renderD128/dev': '',
    },
    args: all,
  },
  infiniband: {
    files: {
      '/dev/infiniband/rdma_cm': node,
      '/dev/infiniband/uverbs0': node,
      '/dev/infiniband/uverbs1': node,
      ...Object.fromEntries(
        ['0', '1'].flatMap((n) => [
          [`/sys/devices/pci/0000:0${n}:00.0/infiniband_verbs/uverbs${n}/uevent`, `DEVNAME=infiniband/uverbs${n}\n`],
          [`/sys/devices/pci/0000:0${n}:00.0/infiniband/mlx5_${n}/uevent`, `NAME=mlx5_${n}\n`],
          [
            `/sys/class/infiniband_verbs/uverbs${n}`,
            { link: `../../devices/pci/0000:0${n}:00.0/infiniband_verbs/uverbs${n}` },
          ],
          [`/sys/class/infiniband/mlx5_${n}`, { link: `../../devices/pci/0000:0${n}:00.0/infiniband/mlx5_${n}` }],
          [`/sys/bus/pci/drivers/mlx5_core/0000:0${n}:00.0`, { link: `../../../../devices/pci/0000:0${n}:00.0` }],
        ]),
      ),
      '/sys/class/infiniband_verbs/abi_version': '6\n',
    },
    env: { MELLANOX_VISIBLE_DEVICES: '1' },
  },
  'version-mismatch': {
    files: { ...debian, ...driverModule([h200], '580.65.06') },
    args: all,
  },
  'no-libraries': { files: driverModule([h200]), args: all },
  'missing-uvm': { files: without(debian, '/dev/nvidia-uvm', '/dev/nvidia-uvm-tools'), args: all },
  'hidden-uuids': {
    files: { ...debian, ...driverModule([{ ...h200, uuid: 'GPU-????????-????-????-????-????????????' }]) },
    args: ['--gpus', 'GPU-11111111-2222-3333-4444-555555555555'],
    smi: {
      '--query-gpu': '0, 00000000:00:06.0, GPU-11111111-2222-3333-4444-555555555555, NVIDIA H200, 9.0, Disabled\n',
    },
  },
  'forward-compatibility': {
    files: {
      ...without(debian, '/usr/bin/nvidia-smi'),
      ...driverModule([h200], '535.104.05'),
      ...driverLibraries(multiarch, '535.104.05'),
      ...cacheOf(multiarch, '535.104.05'),
    },
    args: all,
    rootfs: {
      loader: {
        ...glibc,
        compat: [
          'libcuda.so',
          'libcuda.so.1',
          'libcuda.so.580.95.05',
          'libnvidia-ptxjitcompiler.so.1',
          'libnvidia-ptxjitcompiler.so.580.95.05',
        ],
      },
    },
  },
  'requirement-not-met': {
    files: {
      ...without(debian, '/usr/bin/nvidia-smi'),
      ...driverModule([h200], '535.104.05'),
      ...driverLibraries(multiarch, '535.104.05'),
      ...cacheOf(multiarch, '535.104.05'),
    },
    rootfs: { environment: 'NVIDIA_VISIBLE_DEVICES=all\nNVIDIA_REQUIRE_CUDA=cuda>=13.0\n' },
  },
  cdi: {
    files: {
      '/etc/cdi/acme.json': JSON.stringify({
        cdiVersion: '0.6.0',
        kind: 'acme.com/gpu',
        devices: [{ name: 'left', containerEdits: { deviceNodes: [{ path: '/dev/acme0' }], env: ['ACME=left'] } }],
        containerEdits: {
          mounts: [{ hostPath: '/opt/acme/lib.so', containerPath: '/usr/lib/acme.so', options: ['ro'] }],
        },
      }),
      '/dev/acme0': node,
      '/opt/acme/lib.so': '',
    },
    args: ['--gpus', 'acme.com/gpu=left'],
  },
  'no-gpu': { files: {}, args: all },
  'no-gpu-and-the-image-asks': { files: {}, rootfs: { environment: 'NVIDIA_VISIBLE_DEVICES=all\n' } },
  'driver-not-loaded': {
    files: {
      '/sys/bus/pci/devices/0000:01:00.0/vendor': '0x10de\n',
      '/sys/bus/pci/devices/0000:01:00.0/class': '0x030200\n',
    },
    args: all,
  },
  'image-with-cuda-and-nothing-said': {
    files: debian,
    rootfs: { loader: { ...glibc, cuda: '/usr/local/cuda/lib64/libcudart.so.12' } },
  },
  'nothing-said': { files: debian },
};

function without(files: HostFiles, ...paths: readonly string[]): HostFiles {
  return Object.fromEntries(Object.entries(files).filter(([path]) => !paths.includes(path)));
}

/** The launch with what its host shows. */
async function makeLaunch({ files, image, smi: _smi, kept: _kept, ...change }: Case): Promise<LaunchInput> {
  const rootfs = { environment: '', ...images[image ?? 'debian'], ...change.rootfs };
  const input = makeInput({ ...change, rootfs });
  const devices = await readDevices(makeHost(files), input, true, collectEnvironment(input));
  return { ...input, host: { ...input.host, devices } };
}

async function reportOf(given: Case) {
  let input = await makeLaunch(given);
  for (;;) {
    const report = reportDevices(input, 'userns');
    if (report === null || !('ask' in report)) return report;
    const answers = report.ask.map((question) => [question, answer(question, given.smi ?? {})]);
    input = { ...input, host: { ...input.host, answers: { ...input.host.answers, ...Object.fromEntries(answers) } } };
  }
}

function answer(question: string, smi: Readonly<Record<string, string>>): string {
  const output = Object.entries(smi).find(([word]) => question.includes(`:${word}`))?.[1];
  return output === undefined ? 'failed 2\n' : `exit 0\n${output}`;
}

describe('a plan for the devices of a host', () => {
  test.each(Object.keys(cases))('%s is as it was', async (name) => {
    const report = await reportOf(cases[name] as Case);
    const text = report === null ? 'nothing' : writeReport(report, true).join('\n');
    await expect(`${text}\n`).toMatchFileSnapshot(`golden/${name}.txt`);
  });
});
