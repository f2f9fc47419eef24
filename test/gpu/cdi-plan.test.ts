// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { readCdi } from '../../runtime/gpu/cdi-facts.ts';
import { planCdi } from '../../runtime/gpu/cdi-plan.ts';
import { noEdits } from '../../runtime/gpu/edits.ts';
import { makeNvidiaHost, nvidiaYaml, planVendor, readVendor } from './cdi-fixture.ts';
import { makeHost } from './host-tree.ts';

/** The failure as its two lines. */
function failureOf(run: () => unknown): { message: string; hint: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof Failure) return { message: error.message, hint: error.hint };
    throw error;
  }
  throw new Error('it did not fail');
}

describe('a device of NVIDIA’s specification', () => {
  const plan = planCdi(['nvidia.com/gpu=0'], readCdi(makeNvidiaHost()), []);

  test('brings its nodes and those that all need, and hides the others’', () => {
    expect(plan.devices).toEqual(['/dev/nvidiactl', '/dev/nvidia0', '/dev/dri/renderD128']);
    expect(plan.hidden).toEqual(['/dev/nvidia1', '/dev/dri/renderD129']);
  });

  test('brings the driver’s files, programs and sockets at the paths that the specification says', () => {
    const same = (path: string) => ({ source: path, target: path });
    expect(plan.binds.filter(({ kind }) => kind !== 'proc')).toEqual([
      { ...same('/usr/lib64/libcuda.so.535.161.07'), kind: 'file' },
      { ...same('/usr/bin/nvidia-smi'), kind: 'file' },
      { ...same('/run/nvidia-persistenced/socket'), kind: 'file', flags: ['ro', 'nosuid', 'nodev', 'noexec'] },
    ]);
    expect(plan.env).toEqual(['NVIDIA_VISIBLE_DEVICES=void']);
  });

  test('has its hooks interpreted: links, directories for the loader, names of libraries as ldconfig would make them', () => {
    expect(plan.links).toEqual([
      { path: '/usr/lib64/libcuda.so.1', target: 'libcuda.so.535.161.07' },
      { path: '/usr/lib64/libcuda.so', target: 'libcuda.so.1' },
      { path: '/dev/dri/by-path/pci-0000:65:00.0-render', target: '../renderD128' },
    ]);
    expect(plan.libraryDirs).toEqual(['/usr/lib64', '/opt/nvidia/lib']);
    expect(plan.named).toEqual([{ soname: 'libcuda.so.1', path: '/usr/lib64/libcuda.so.1', abi: '64' }]);
    expect(plan.warnings).toEqual([]);
  });

  test('keeps the driver from making device nodes, and /proc as it is but for that', () => {
    expect(plan.masks).toEqual(['/proc/driver/nvidia']);
    expect(plan.files).toEqual([
      {
        path: '/proc/driver/nvidia/params',
        mode: 0o444,
        data: 'EnableMSI: 1\nModifyDeviceFiles: 0\nDeviceFileMode: 438\n',
      },
    ]);
    expect(plan.binds.filter(({ kind }) => kind === 'proc').map(({ source, target }) => [source, target])).toEqual([
      ['/proc/driver/nvidia/gpus', '/proc/driver/nvidia/gpus'],
      ['/proc/driver/nvidia/version', '/proc/driver/nvidia/version'],
    ]);
    const host = makeNvidiaHost({ '/proc/driver/nvidia/params': 'ModifyDeviceFiles: 0\n' });
    expect(planCdi(['nvidia.com/gpu=0'], readCdi(host), [])).toMatchObject({ masks: [], files: [] });
  });

  test('lets newer CUDA libraries of the image come first, older ones not', () => {
    const named = (...compat: string[]) =>
      planCdi(['nvidia.com/gpu=0'], readCdi(makeNvidiaHost()), [], compat).named.map(({ path }) => path);
    expect(named('libcuda.so.550.54.15', 'libcuda.so.1')).toEqual(['/usr/local/cuda/compat/libcuda.so.1']);
    expect(named('libcuda.so.525.10.05', 'libcuda.so.1')).toEqual(['/usr/lib64/libcuda.so.1']);
  });

  test('is the same when it is asked for twice, and with others the common part comes once', () => {
    const facts = readCdi(makeNvidiaHost());
    expect(planCdi(['nvidia.com/gpu=0', 'nvidia.com/gpu=0'], facts, [])).toEqual(plan);
    const both = planCdi(['nvidia.com/gpu=1', 'nvidia.com/gpu=0'], facts, []);
    expect(both.devices).toEqual([
      '/dev/nvidiactl',
      '/dev/nvidia1',
      '/dev/dri/renderD129',
      '/dev/nvidia0',
      '/dev/dri/renderD128',
    ]);
    expect(both).toMatchObject({ hidden: [], env: ['NVIDIA_VISIBLE_DEVICES=void'] });
    expect(planCdi(['nvidia.com/gpu=all'], facts, []).hidden).toEqual([]);
  });

  test('may lack what a daemon makes, and nothing else', () => {
    const socket = '/run/nvidia-persistenced/socket';
    const without = planCdi(['nvidia.com/gpu=0'], readCdi(makeNvidiaHost({ [socket]: null })), []);
    expect(without.missing.map(({ what }) => what)).toEqual([socket]);
    expect(without.binds.map(({ target }) => target)).not.toContain(socket);
    for (const path of ['/usr/lib64/libcuda.so.535.161.07', '/dev/nvidiactl', '/dev/nvidia0']) {
      const facts = readCdi(makeNvidiaHost({ [path]: null }));
      expect(failureOf(() => planCdi(['nvidia.com/gpu=0'], facts, []))).toEqual({
        message: `${path}, which /etc/cdi/nvidia.yaml names for the CDI device nvidia.com/gpu=0, is not there: the specification is stale`,
        hint: 'bring it up to date: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml',
      });
    }
    const other = readCdi(makeNvidiaHost({ '/dev/nvidia1': null }));
    expect(planCdi(['nvidia.com/gpu=0'], other, []).hidden).toEqual(['/dev/dri/renderD129']);
  });
});

describe('which file describes a device', () => {
  const withPath = (path: string) =>
    nvidiaYaml.replace('path: /dev/nvidiactl', `path: /dev/nvidiactl\n  - path: ${path}`);
  const one = { '/dev/one': { node: true }, '/dev/two': { node: true } } as const;
  const plan = (files: Record<string, string>) =>
    planCdi(['nvidia.com/gpu=0'], readCdi(makeNvidiaHost({ ...one, ...files })), []);

  test('is decided by the later directory', () => {
    const files = { '/etc/cdi/nvidia.yaml': withPath('/dev/one'), '/var/run/cdi/nvidia.yaml': withPath('/dev/two') };
    expect(plan(files).devices).toContain('/dev/two');
    expect(plan(files).devices).not.toContain('/dev/one');
  });

  test('cannot be decided in one directory, unless a later one has the device', () => {
    const files = { '/etc/cdi/a.yaml': nvidiaYaml };
    expect(failureOf(() => plan(files))).toEqual({
      message: 'two specifications describe the CDI device nvidia.com/gpu=0: /etc/cdi/a.yaml and /etc/cdi/nvidia.yaml',
      hint: 'remove one of them',
    });
    expect(plan({ ...files, '/var/run/cdi/nvidia.yaml': withPath('/dev/two') }).devices).toContain('/dev/two');
  });

  test('is told of when there is none, with the names that there are and the files that are bad', () => {
    const bad = nvidiaYaml.replace('permissions: rw', 'permissions: x');
    const facts = readCdi(
      makeNvidiaHost({ '/etc/cdi/bad.yaml': bad, '/etc/cdi/x.yaml': ']', '/etc/cdi/y.json': '{"kind":"a/b"}' }),
    );
    const { message, hint } = failureOf(() => planCdi(['nvidia.com/gpu=7'], facts, []));
    expect(message).toContain(
      'no specification in /etc/cdi or /var/run/cdi describes the CDI device nvidia.com/gpu=7; ',
    );
    expect(message).toContain('/etc/cdi/bad.yaml is bad: devices[0].containerEdits.deviceNodes[0]: not permissions: x');
    expect(message).toContain('/etc/cdi/x.yaml is bad: not YAML or JSON');
    expect(message).not.toContain('y.json');
    expect(hint).toBe('choose among nvidia.com/gpu=0, nvidia.com/gpu=1, nvidia.com/gpu=all');
    expect(planCdi(['nvidia.com/gpu=0'], facts, []).warnings).toEqual([
      'the CDI specification /etc/cdi/bad.yaml is left out: devices[0].containerEdits.deviceNodes[0]: not permissions: x',
    ]);
  });

  test('is told of when there are no specifications at all, and when the name is none', () => {
    expect(failureOf(() => planCdi(['nvidia.com/gpu=0'], readCdi(makeHost({})), []))).toEqual({
      message: 'no specification in /etc/cdi or /var/run/cdi describes the CDI device nvidia.com/gpu=0',
      hint: 'make one: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml',
    });
    expect(failureOf(() => planCdi(['amd.com/gpu=0'], null, [])).hint).toContain('amd-ctk cdi generate');
    for (const name of ['gpu0', 'nvidia.com/gpu', 'nvidia.com/gpu=', '=0', 'a/b/c=0']) {
      expect(failureOf(() => planCdi([name], null, [])).message).toBe(`not the name of a CDI device: ${name}`);
    }
  });

  test('matters to nobody who asks for no device', () => {
    expect(planCdi([], readCdi(makeNvidiaHost()), [])).toEqual(noEdits);
    expect(planCdi([], null, [])).toEqual(noEdits);
  });
});

describe('edits of any vendor', () => {
  const node = { node: true } as const;

  test('show a device node at another path, and one outside of /dev, by a bind mount', () => {
    const deviceNodes = [
      { path: '/dev/x0', hostPath: '/dev/x3' },
      { path: '/srv/y', hostPath: '/srv/y' },
    ];
    const other = { name: 'b', containerEdits: { deviceNodes: [{ path: '/dev/x0' }, { path: '/dev/x4' }] } };
    const devices = [{ name: 'a', containerEdits: { deviceNodes } }, other];
    const files = { '/dev/x0': node, '/dev/x3': node, '/dev/x4': node, '/srv/y': node };
    expect(planVendor({}, { devices }, files)).toMatchObject({
      binds: [
        { source: '/dev/x3', target: '/dev/x0', kind: 'device' },
        { source: '/srv/y', target: '/srv/y', kind: 'device' },
      ],
      devices: [],
      hidden: ['/dev/x4'],
    });
  });

  test('mount directories and files with the flags that the kernel knows, and nothing that is not the host’s', () => {
    const mounts = [
      { hostPath: '/srv/dir', containerPath: '/a', options: ['rbind', 'rw', 'nosuid', 'rslave', 'x-mine'] },
      { hostPath: '/srv/file', containerPath: '/b', type: 'none', options: ['bind', 'ro', 'nodev', 'nosuid'] },
      { hostPath: '/srv/file', containerPath: '/c' },
      { hostPath: 'tmpfs', containerPath: '/d', type: 'tmpfs', options: ['size=1m'] },
      { hostPath: '/srv/file', containerPath: '/a/e' },
      { hostPath: '/srv/other', containerPath: '/c' },
    ];
    const plan = planVendor({ mounts }, {}, { '/srv/dir': { dir: true }, '/srv/file': '', '/srv/other': '' });
    expect(plan.binds).toEqual([
      { source: '/srv/dir', target: '/a', kind: 'dir', flags: ['nosuid'] },
      { source: '/srv/file', target: '/b', kind: 'file' },
      { source: '/srv/other', target: '/c', kind: 'file', flags: [] },
      { source: '/srv/file', target: '/a/e', kind: 'file', flags: [] },
    ]);
    expect(plan.warnings).toEqual(['CDI: only files of the host are mounted; left out: /d']);
  });

  test('have env in the order of specification and device', () => {
    const facts = readVendor({ env: ['B=2', 'A=3'] }, { containerEdits: { env: ['A=1'] } });
    const device = 'vendor.com/class=a';
    expect(planCdi([device], facts, []).env).toEqual(['A=1', 'B=2', 'A=3']);
    expect(planCdi([device, device], facts, []).env).toEqual(['A=1', 'B=2', 'A=3']);
  });

  test('warn of what takes root, each once', () => {
    const edits = {
      additionalGids: [0, 44, 109],
      intelRdt: { closID: 'x' },
      netDevices: [{ hostInterfaceName: 'a', name: 'b' }],
      hooks: [
        { hookName: 'prestart', path: '/opt/bin/hook', args: ['hook', 'do', 'it\n'] },
        { hookName: 'createContainer', path: '/usr/bin/nvidia-ctk', args: ['nvidia-ctk', 'system', 'create-symlinks'] },
        { hookName: 'createContainer', path: '/usr/bin/nvidia-cdi-hook', args: ['nvidia-cdi-hook', 'brand-new'] },
      ],
    };
    const facts = readVendor(edits, { containerEdits: edits });
    expect(planCdi(['vendor.com/class=a'], facts, [44]).warnings).toEqual([
      'CDI: the device wants the groups 109, which only root can join; sudo usermod -aG GROUP USER',
      'CDI: only root can honour intelRdt, netDevices',
      'CDI: hooks are not run; without: /opt/bin/hook do it\\x0a; /usr/bin/nvidia-ctk system create-symlinks; /usr/bin/nvidia-cdi-hook brand-new',
    ]);
  });

  test('warn of nodes that the caller may not open, but for cards', () => {
    const facts = readVendor({ deviceNodes: [{ path: '/dev/a' }, { path: '/dev/b' }, { path: '/dev/dri/card0' }] });
    const closed = {
      ...facts,
      nodes: { '/dev/a': 'denied', '/dev/b': 'refused', '/dev/dri/card0': 'denied' },
    } as const;
    const plan = planCdi(['vendor.com/class=a'], closed, []);
    expect(plan.warnings).toEqual(['CDI: no permission to open /dev/a, /dev/b']);
    expect(plan.devices).toEqual(['/dev/a', '/dev/b', '/dev/dri/card0']);
  });

  test('fail for a file below a directory that the caller may not enter, and for stale files of any vendor', () => {
    const mounts = [{ hostPath: '/srv/a', containerPath: '/a' }];
    const facts = readVendor({ mounts });
    const denied = { ...facts, kinds: { '/srv/a': 'denied' } } as const;
    expect(failureOf(() => planCdi(['vendor.com/class=a'], denied, [])).message).toContain('permission denied');
    expect(failureOf(() => planCdi(['vendor.com/class=a'], facts, [])).hint).toContain('the program of the vendor');
  });
});
