// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { collectEnvironment } from '../../runtime/environment.ts';
import { Failure } from '../../runtime/failure.ts';
import { readDevices } from '../../runtime/gpu/collect.ts';
import type { DevicePlan } from '../../runtime/gpu/device-plan.ts';
import { planDevices } from '../../runtime/gpu/plan-devices.ts';
import { rungs } from '../../runtime/rungs.ts';
import { makeInput } from '../runtime/launch-fixture.ts';
import { type HostFile, type HostFiles, makeHost } from './host-tree.ts';
import { driverModule, migParts, packages, twoGpus } from './hosts.ts';

const node = { node: true } as const;
/** Everything at once, of which a host has any part. */
const everything: HostFiles = {
  ...packages,
  ...driverModule(twoGpus),
  ...migParts(0, [1, 2]),
  '/usr/bin/nvidia-modprobe': '',
  '/dev/nvidia-caps-imex-channels/channel0': node,
  '/dev/gdrdrv': node,
  '/dev/kfd': node,
  '/sys/module/amdgpu/drivers/pci:amdgpu/0000:c1:00.0/uevent': '',
  '/sys/bus/pci/devices/0000:c1:00.0/drm/renderD140/dev': '',
  '/dev/dri/renderD140': node,
  '/dev/infiniband/uverbs0': node,
  '/sys/class/infiniband_verbs/abi_version': '6\n',
  '/etc/OpenCL/vendors/nvidia.icd': '',
};
const paths = Object.keys(everything);

/** A host with parts missing, and others that hold something else. */
const hosts = fc
  .record({
    gone: fc.uniqueArray(fc.constantFrom(...paths), { maxLength: 12 }),
    spoilt: fc.dictionary(
      fc.constantFrom(
        ...paths.filter((path) => typeof everything[path] !== 'object' || everything[path] instanceof Uint8Array),
      ),
      fc.oneof(
        fc.string({ unit: 'binary-ascii', maxLength: 200 }),
        fc.constantFrom('\n', 'Device Minor: \t 0\n', 'Device Minor: 99999999999\n'),
      ),
      { maxKeys: 4 },
    ),
  })
  .map(({ gone, spoilt }): HostFiles => {
    const kept: [string, HostFile][] = Object.entries({ ...everything, ...spoilt });
    return Object.fromEntries(kept.filter(([path]) => !gone.includes(path)));
  });

const requests = fc.record({
  gpus: fc.constantFrom(
    undefined,
    'all',
    'none',
    '0',
    '1',
    '0,1',
    '7',
    'GPU-aaaaaaaa',
    'MIG-0',
    '0:0',
    'x/y=z',
    '0000:65:00.0',
  ),
  variable: fc.constantFrom(undefined, '', 'void', 'all', 'none', '1', 'nonsense'),
  capabilities: fc.constantFrom(undefined, 'all', 'utility', 'compute', 'graphics,video', 'wrong'),
  mellanox: fc.constantFrom(undefined, 'all', '0'),
  root: fc.constantFrom('served' as const, 'kept' as const),
  rung: fc.constantFrom(...rungs),
  rw: fc.boolean(),
});

/** Answers every question as a host where no program can be started. */
async function planOn(
  files: HostFiles,
  asked: typeof requests extends fc.Arbitrary<infer T> ? T : never,
): Promise<DevicePlan | Failure> {
  const env = {
    ...(asked.variable === undefined ? {} : { NVIDIA_VISIBLE_DEVICES: asked.variable }),
    ...(asked.capabilities === undefined ? {} : { NVIDIA_DRIVER_CAPABILITIES: asked.capabilities }),
    ...(asked.mellanox === undefined ? {} : { MELLANOX_VISIBLE_DEVICES: asked.mellanox }),
  };
  const args = [...(asked.gpus === undefined ? [] : ['--gpus', asked.gpus]), ...(asked.rw ? ['--rw'] : [])];
  let input = makeInput({ env, args });
  try {
    const devices = await readDevices(makeHost(files), input, false);
    input = { ...input, host: { ...input.host, devices } };
    for (let round = 0; round < 5; round++) {
      const plan = planDevices(input, collectEnvironment(input), asked.root, asked.rung);
      if (!('ask' in plan)) return plan;
      const answers = Object.fromEntries(plan.ask.map((question) => [question, 'failed 2\n']));
      input = { ...input, host: { ...input.host, answers: { ...input.host.answers, ...answers } } };
    }
    throw new Error('it asks for ever');
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

describe('a plan for devices, whatever a host lacks or has spoilt', () => {
  test('is a plan or a failure with a cure, names each place once, and hides nothing that it gives', async () => {
    await fc.assert(
      fc.asyncProperty(hosts, requests, async (files, asked) => {
        const plan = await planOn(files, asked);
        if (plan instanceof Failure) {
          expect(plan.message).not.toBe('');
          expect(plan.hint).not.toBe('');
          return;
        }
        const shown = plan.shown.map(({ path }) => path);
        expect(new Set(shown).size).toBe(shown.length);
        const mounts = plan.ops.flatMap((op) =>
          op.op === 'mount' && op.type === '' && op.source !== 'none' ? [op.target] : [],
        );
        expect(new Set(mounts).size).toBe(mounts.length);
        for (const place of [...shown, ...mounts]) expect(place).toMatch(/^\/[^\n\0]+$/);
        const edits = plan.edits?.asked;
        expect(edits?.devices.filter((device) => edits.hidden.includes(device)) ?? []).toEqual([]);
        if (asked.root === 'kept') expect(plan.shown).toEqual([]);
        if (asked.rung === 'chroot') expect(plan.shown).toEqual([]);
        // Nothing of a driver is asked for: nothing changes.
        const silent =
          asked.gpus === undefined && ['', 'void', undefined].includes(asked.variable) && asked.mellanox === undefined;
        if (silent) expect([plan.shown, plan.ops, plan.environ]).toEqual([[], [], []]);
      }),
      { numRuns: 60 },
    );
  });
});
