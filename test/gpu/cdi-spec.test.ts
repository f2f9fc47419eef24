// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { parseSpec } from '../../runtime/gpu/cdi-spec.ts';
import { fromText } from '../../src/format/bytes.ts';
import { nvidiaYaml } from './cdi-fixture.ts';

const nothing = { env: [], deviceNodes: [], mounts: [], hooks: [], additionalGids: [], privileged: [] };
const device = { name: 'a', containerEdits: { env: ['A=1'] } };
const good = { cdiVersion: '1.1.0', kind: 'vendor.com/class', devices: [device] };

const parse = (spec: unknown) => parseSpec(fromText(JSON.stringify(spec)));
const withEdits = (containerEdits: unknown, cdiVersion = '1.1.0') => parse({ ...good, cdiVersion, containerEdits });

describe('a specification of the Container Device Interface', () => {
  test('is read from YAML as nvidia-ctk writes it', () => {
    const spec = parseSpec(nvidiaYaml);
    expect(spec.kind).toBe('nvidia.com/gpu');
    expect(spec.devices.map(({ name }) => name)).toEqual(['0', '1', 'all']);
    expect(spec.devices[1]?.edits).toEqual({
      ...nothing,
      deviceNodes: [
        { path: '/dev/nvidia1', hostPath: '/dev/nvidia1' },
        { path: '/dev/dri/renderD129', hostPath: '/dev/dri/renderD129' },
      ],
    });
    expect(spec.edits.env).toEqual(['NVIDIA_VISIBLE_DEVICES=void']);
    expect(spec.edits.mounts[1]).toEqual({
      hostPath: '/usr/bin/nvidia-smi',
      containerPath: '/usr/bin/nvidia-smi',
      type: 'bind',
      options: ['ro', 'nosuid', 'nodev', 'bind'],
    });
    expect(spec.edits.hooks[1]).toEqual({
      path: '/usr/bin/nvidia-cdi-hook',
      args: ['nvidia-cdi-hook', 'enable-cuda-compat', '--host-driver-version=535.161.07'],
    });
  });

  test('is read from JSON with tabs, escapes and letters of any alphabet', () => {
    const text = `{\n\t"cdiVersion":\t"v0.6.0", "kind": "a/b.c",\n\t"devices": [{"name": 0, "containerEdits":\n\t\t{"env": ["A=\\u00e9\\ud83d\\ude00\\/\\"", "B=é"]}}],\n\t"containerEdits": null\n}`;
    const spec = parseSpec(fromText(text));
    expect(spec.devices).toEqual([{ name: '0', edits: { ...nothing, env: [fromText('A=é😀/"'), fromText('B=é')] } }]);
    expect(spec.edits).toEqual(nothing);
  });

  test('may set fields to null, and write numbers as YAML does', () => {
    const text = `
      cdiVersion: 0.7.0
      kind: a/b
      annotations: ~
      devices: [{name: 0x1f}]
      containerEdits:
        env:
        deviceNodes: [{path: /dev/a, hostPath: null, fileMode: 0o666, major: 0xc3, minor: -1}]
        additionalGids: [054, 44, 0x2c, 0o54]`;
    const { edits, devices } = parseSpec(text);
    expect(edits).toEqual({
      ...nothing,
      deviceNodes: [{ path: '/dev/a', hostPath: '/dev/a' }],
      additionalGids: [44, 44, 44, 44],
    });
    expect(devices[0]?.name).toBe('0x1f');
  });

  test('that is written as JSON says the same as the values it was made of', () => {
    const path = fc.stringMatching(/^(\/[\w.:+ é-]{1,8}){1,4}$/);
    const value = fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', ''));
    const edits = fc.record({
      env: fc.array(
        value.map((text) => `K=${text}`),
        { maxLength: 3 },
      ),
      deviceNodes: fc.array(fc.record({ path, hostPath: path, major: fc.integer(), fileMode: fc.nat() }), {
        maxLength: 3,
      }),
      mounts: fc.array(fc.record({ hostPath: path, containerPath: path, options: fc.array(value, { maxLength: 2 }) }), {
        maxLength: 3,
      }),
      hooks: fc.array(fc.record({ hookName: fc.constant('prestart'), path, args: fc.array(value, { maxLength: 2 }) }), {
        maxLength: 3,
      }),
      additionalGids: fc.array(fc.nat(), { maxLength: 3 }),
    });
    const names = fc.uniqueArray(fc.stringMatching(/^[A-Za-z0-9]([\w.:-]{0,6}[A-Za-z0-9])?$/), {
      minLength: 1,
      maxLength: 2,
    });
    fc.assert(
      fc.property(names, edits, fc.constantFrom(undefined, 1, '\t'), (all, containerEdits, space) => {
        const spec = { ...good, devices: all.map((name) => ({ name, containerEdits })), containerEdits };
        const read = parseSpec(fromText(JSON.stringify(spec, null, space)));
        const expected = {
          ...nothing,
          env: containerEdits.env,
          deviceNodes: containerEdits.deviceNodes.map((node) => ({ path: node.path, hostPath: node.hostPath })),
          mounts: containerEdits.mounts.map((mount) => ({ ...mount, type: 'bind' })),
          hooks: containerEdits.hooks.map((hook) => ({ path: hook.path, args: hook.args })),
          additionalGids: containerEdits.additionalGids,
        };
        const bytes = JSON.parse(JSON.stringify(expected), (_key, item) =>
          typeof item === 'string' ? fromText(item) : item,
        );
        expect(read.edits).toEqual(bytes);
        expect(read.devices).toEqual(all.map((name) => ({ name, edits: bytes })));
      }),
      { numRuns: 50 },
    );
  });

  test('that is damaged is refused in words, or read', () => {
    fc.assert(
      fc.property(fc.nat(nvidiaYaml.length - 1), fc.nat(255), fc.nat(40), (at, byte, gone) => {
        const text = nvidiaYaml.slice(0, at) + String.fromCharCode(byte) + nvidiaYaml.slice(at + gone);
        try {
          expect(parseSpec(text).kind).toMatch(/^[\w.-]+\/[\w.-]+$/);
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          expect(error.message).not.toContain('\n');
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a specification is refused', () => {
  test.each<[string, unknown, string]>([
    ['for another version', { ...good, cdiVersion: '1.2.0' }, 'cdiVersion is 1.2.0, and known are 0.3.0 to 1.1.0'],
    ['for a version before the first', { ...good, cdiVersion: '0.2.0' }, 'cdiVersion is 0.2.0'],
    ['without a version', { ...good, cdiVersion: undefined }, 'cdiVersion is missing'],
    ['for an unknown field', { ...good, extra: 1 }, 'unknown field extra'],
    ['for an unknown field of a device', { ...good, devices: [{ ...device, x: 1 }] }, 'devices[0]: unknown field x'],
    ['for fields in other letters', { ...good, Kind: 'a/b' }, 'unknown field Kind'],
    ['as a list', [good], 'not an object with fields'],
    ['without devices', { ...good, devices: [] }, 'no devices'],
    ['with a device for a list', { ...good, devices: device }, 'devices: not a list'],
    ['with two devices of a name', { ...good, devices: [device, device] }, 'two devices with the name a'],
    ['with a device without a name', { ...good, devices: [{}] }, 'devices[0]: no name'],
    ['for a name of a device', { ...good, devices: [{ name: 'a=b' }] }, 'devices[0]: not a name: a=b'],
    ['for a kind without vendor', { ...good, kind: 'gpu' }, 'kind is not VENDOR/CLASS: gpu'],
    ['for a kind of three parts', { ...good, kind: 'a/b/c' }, 'kind is not VENDOR/CLASS'],
    ['for a vendor of 254 letters', { ...good, kind: `${'a'.repeat(254)}/b` }, 'kind is not VENDOR/CLASS'],
    ['for a class of 64 letters', { ...good, kind: `a/${'b'.repeat(64)}` }, 'kind is not VENDOR/CLASS'],
    ['for a number as annotations', { ...good, annotations: 1 }, 'annotations: not an object'],
    ['for an annotation that is no text', { ...good, annotations: { a: [] } }, 'annotations.a: not a text'],
  ])('%s', (_title, spec, message) => {
    expect(() => parse(spec)).toThrow(message);
  });

  test.each<[string, unknown, string]>([
    ['an environment without a name', { env: ['=1'] }, 'containerEdits.env[0]: not NAME=VALUE: =1'],
    ['a device node without a path', { deviceNodes: [{ hostPath: '/dev/a' }] }, 'deviceNodes[0]: no path'],
    ['a device node at a relative path', { deviceNodes: [{ path: 'dev/a' }] }, 'path is not absolute: dev/a'],
    ['a type of devices', { deviceNodes: [{ path: '/a', type: 'x' }] }, 'not a type of device: x'],
    ['permissions', { deviceNodes: [{ path: '/a', permissions: 'rx' }] }, 'not permissions: rx'],
    ['a major number', { deviceNodes: [{ path: '/a', major: 'one' }] }, 'deviceNodes[0].major: not a number: one'],
    ['a zero byte', { deviceNodes: [{ path: '/a\0b' }] }, 'deviceNodes[0].path: a zero byte'],
    ['a mount without source', { mounts: [{ containerPath: '/a' }] }, 'mounts[0]: no hostPath'],
    ['a mount of a relative path', { mounts: [{ hostPath: 'a', containerPath: '/a' }] }, 'hostPath is not absolute: a'],
    ['a mount without target', { mounts: [{ hostPath: '/a' }] }, 'mounts[0]: no containerPath'],
    ['a name of a hook', { hooks: [{ hookName: 'x', path: '/a' }] }, 'hooks[0]: not a name of a hook: x'],
    ['a relative hook', { hooks: [{ hookName: 'prestart', path: 'a' }] }, 'path is not absolute: a'],
    ['a timeout', { hooks: [{ hookName: 'prestart', path: '/a', timeout: 0 }] }, 'timeout is not positive'],
    ['a field of resctrl', { intelRdt: { schema: [] } }, 'containerEdits.intelRdt: unknown field schema'],
    ['a dropped field of resctrl', { intelRdt: { enableCMT: true } }, 'unknown field enableCMT'],
    ['a network device', { netDevices: [{ name: 'eth0' }] }, 'netDevices[0]: no hostInterfaceName'],
    ['edits as a list', [], 'containerEdits: not an object with fields'],
  ])('for %s', (_title, edits, message) => {
    expect(() => withEdits(edits)).toThrow(message);
  });

  test.each<[string, string, string]>([
    ['that is no YAML', 'a: [', 'not YAML or JSON: unexpected end of the stream'],
    ['that is empty', '', 'not YAML or JSON'],
    ['with a field twice', `${JSON.stringify(good).slice(0, -1)}, "kind": "a/b"}`, 'duplicated mapping key'],
    ['of two documents', '---\na: 1\n---\nb: 1\n', 'not YAML or JSON: expected a single document'],
    ['with a tag of YAML', 'kind: !!binary aaaa', 'unknown scalar tag'],
  ])('as text %s', (_title, text, message) => {
    expect(() => parseSpec(text)).toThrow(message);
  });

  test.each<[string, string, string, (version: string) => unknown]>([
    [
      'a type of mounts',
      '0.3.0',
      '0.4.0',
      (v) => withEdits({ mounts: [{ hostPath: 'a', containerPath: '/a', type: 'tmpfs' }] }, v),
    ],
    ['a path on the host', '0.4.0', '0.5.0', (v) => withEdits({ deviceNodes: [{ path: '/a', hostPath: '/b' }] }, v)],
    [
      'a name that begins with a digit',
      '0.4.0',
      '0.5.0',
      (v) => parse({ ...good, cdiVersion: v, devices: [{ name: '0' }] }),
    ],
    ['annotations', '0.5.0', '0.6.0', (v) => parse({ ...good, cdiVersion: v, annotations: { a: 'b' } })],
    [
      'annotations of a device',
      '0.5.0',
      '0.6.0',
      (v) => parse({ ...good, cdiVersion: v, devices: [{ name: 'a', annotations: { a: 'b' } }] }),
    ],
    ['a class with a dot', '0.5.0', '0.6.0', (v) => parse({ ...good, cdiVersion: v, kind: 'a/b.c' })],
    ['groups', '0.6.0', '0.7.0', (v) => withEdits({ additionalGids: [44] }, v)],
    ['resctrl', '0.6.0', '0.7.0', (v) => withEdits({ intelRdt: { closID: 'a' } }, v)],
    ['schemata of resctrl', '1.0.0', '1.1.0', (v) => withEdits({ intelRdt: { schemata: ['L3:0=f'] } }, v)],
    ['monitoring by resctrl', '0.8.0', '1.1.0', (v) => withEdits({ intelRdt: { enableMonitoring: true } }, v)],
    ['network devices', '1.0.0', '1.1.0', (v) => withEdits({ netDevices: [{ hostInterfaceName: 'a', name: 'b' }] }, v)],
  ])('with %s in version %s, and read in %s', (_title, before, from, read) => {
    expect(() => read(before)).toThrow(`needs cdiVersion ${from} or newer`);
    expect(() => read(from)).not.toThrow();
  });
});

test('edits of privileged runtimes are noted, fields of old versions are known, and groups are spelled in both ways', () => {
  expect(withEdits({ additionalGIDs: [44, 0], intelRdt: { enableCMT: true } }, '0.7.0').edits).toEqual({
    ...nothing,
    additionalGids: [44, 0],
    privileged: ['intelRdt'],
  });
  const netDevices = [{ hostInterfaceName: 'eth1', name: 'eth0' }];
  expect(withEdits({ netDevices }).edits.privileged).toEqual(['netDevices']);
});

test('what is a bind mount is told by type and options, as mount(2) does', () => {
  const types = ['', 'none', 'bind', 'tmpfs', 'proc'];
  const read = (options: string[]) =>
    withEdits({ mounts: types.map((type) => ({ hostPath: '/a', containerPath: '/b', type, options })) }).edits.mounts;
  expect(read(['ro']).map(({ type }) => type)).toEqual(['bind', 'bind', 'bind', 'tmpfs', 'proc']);
  expect(read(['rbind']).map(({ type }) => type)).toEqual(['bind', 'bind', 'bind', 'bind', 'bind']);
});
