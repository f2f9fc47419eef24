// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { readCdi } from '../../runtime/gpu/cdi-facts.ts';
import { makeLibrary, makeNvidiaHost, nvidiaYaml } from './cdi-fixture.ts';
import { makeHost } from './host-tree.ts';

const minimal = JSON.stringify({ cdiVersion: '0.3.0', kind: 'vendor.com/class', devices: [{ name: 'a' }] });

test('a host without specifications costs two look-ups', () => {
  const host = makeHost({});
  expect(readCdi(host)).toMatchObject({ files: [], nodes: {}, kinds: {}, libraries: {}, driverProc: null });
  expect([...host.paths]).toEqual(['/etc/cdi', '/var/run/cdi']);
});

test('specifications are read from both directories, not from directories below and not from other files', () => {
  const host = makeHost({
    '/etc/cdi/b.json': minimal,
    '/etc/cdi/a.yaml': nvidiaYaml,
    '/etc/cdi/README': 'no specification',
    '/etc/cdi/c.yaml.bak': 'no specification',
    '/etc/cdi/d.json/e.json': minimal,
    '/etc/cdi/link.yml': { link: '../elsewhere.yaml' },
    '/etc/elsewhere.yaml': minimal,
    '/var/run/cdi/b.json': minimal,
  });
  expect(readCdi(host).files.map(({ path, priority, kind }) => [path, priority, kind])).toEqual([
    ['/etc/cdi/a.yaml', 0, 'nvidia.com/gpu'],
    ['/etc/cdi/b.json', 0, 'vendor.com/class'],
    ['/etc/cdi/link.yml', 0, 'vendor.com/class'],
    ['/var/run/cdi/b.json', 1, 'vendor.com/class'],
  ]);
});

test('other directories can be named', () => {
  const facts = readCdi(makeHost({ '/opt/cdi/b.json': minimal }), ['/opt/cdi']);
  expect(facts.dirs).toEqual(['/opt/cdi']);
  expect(facts.files.map(({ path }) => path)).toEqual(['/opt/cdi/b.json']);
});

test('of a bad file it is kept what is wrong, and its kind where it says one', () => {
  const host = makeHost({
    '/etc/cdi/a.json': minimal.replace('0.3.0', '9.9.9'),
    '/etc/cdi/b.yaml': nvidiaYaml.replace('permissions: rw', 'permission: rw'),
    '/etc/cdi/c.yaml': 'kind: [',
    '/etc/cdi/d.yaml': { link: 'nowhere' },
    '/etc/cdi/e.yaml': `${nvidiaYaml}${'#'.repeat(16 << 20)}`,
  });
  const { files } = readCdi(host);
  expect(files.map(({ kind }) => kind)).toEqual(['vendor.com/class', 'nvidia.com/gpu', '', '', '']);
  expect(files.map(({ spec }) => spec)).toEqual([null, null, null, null, null]);
  expect(files.map(({ error }) => error)).toEqual([
    'cdiVersion is 9.9.9, and known are 0.3.0 to 1.1.0',
    'devices[0].containerEdits.deviceNodes[0]: unknown field permission',
    expect.stringContaining('not YAML or JSON'),
    'cannot be read',
    'larger than 16777216 bytes',
  ]);
});

test('every path of the host that a specification names is looked at', () => {
  const host = makeNvidiaHost({ '/dev/nvidia1': null, '/usr/bin/nvidia-smi': null });
  const facts = readCdi(host);
  expect(facts.nodes).toEqual({
    '/dev/nvidia0': 'ok',
    '/dev/nvidia1': 'missing',
    '/dev/nvidiactl': 'ok',
    '/dev/dri/renderD128': 'ok',
    '/dev/dri/renderD129': 'ok',
  });
  expect(facts.kinds).toEqual({
    '/usr/lib64/libcuda.so.535.161.07': 'file',
    '/usr/bin/nvidia-smi': 'missing',
    '/run/nvidia-persistenced/socket': 'file',
  });
  for (const path of [...Object.keys(facts.nodes), ...Object.keys(facts.kinds)]) expect(host.paths).toContain(path);
});

test('libraries are asked for their sonames where a hook updates the loader’s cache', () => {
  const path = '/usr/lib64/libcuda.so.535.161.07';
  expect(readCdi(makeNvidiaHost()).libraries).toEqual({ [path]: { soname: 'libcuda.so.1', abi: '64' } });
  expect(readCdi(makeNvidiaHost({ [path]: 'no library' })).libraries).toEqual({});
  expect(readCdi(makeNvidiaHost({ [path]: makeLibrary('') })).libraries).toEqual({});
  const without = nvidiaYaml.replace('update-ldcache', 'chmod');
  expect(readCdi(makeNvidiaHost({ '/etc/cdi/nvidia.yaml': without })).libraries).toEqual({});
});

test('the driver’s directory of /proc is read where a hook changes it', () => {
  const params = 'EnableMSI: 1\nModifyDeviceFiles: 1\nDeviceFileMode: 438\n';
  expect(readCdi(makeNvidiaHost()).driverProc).toEqual({ params, others: ['gpus', 'version'] });
  const without = nvidiaYaml.replace('disable-device-node-modification', 'chmod');
  expect(readCdi(makeNvidiaHost({ '/etc/cdi/nvidia.yaml': without })).driverProc).toBeNull();
  expect(readCdi(makeNvidiaHost({ '/proc/driver/nvidia/params': null })).driverProc).toBeNull();
});
