// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import type { MigCapability } from '../../runtime/gpu/nvidia-facts.ts';
import { type SelectableGpu, selectGpus } from '../../runtime/gpu/nvidia-select.ts';
import type { SmiFacts } from '../../runtime/gpu/nvidia-smi.ts';
import { fromBuffer } from '../../src/format/bytes.ts';

const uuids = [
  'GPU-1a2b3c4d-0001-4e5f-8a9b-0c1d2e3f4a5b',
  'GPU-1a2b9999-0002-4e5f-8a9b-0c1d2e3f4a5b',
  'GPU-c0ffee00-0003-4e5f-8a9b-0c1d2e3f4a5b',
] as const;
const migUuids = [
  'MIG-aa000000-1111-5222-8333-444444444444',
  'MIG-ab000000-1111-5222-8333-444444444444',
  'MIG-c0000000-1111-5222-8333-444444444444',
] as const;

/** Minor numbers need not be in the order of the bus ids; the last GPU is in a PCI domain of its own. */
const gpus: SelectableGpu[] = [
  { busId: '0000:17:00.0', minor: 2, uuid: uuids[0], model: 'NVIDIA H200' },
  { busId: '0000:af:00.0', minor: 0, uuid: uuids[1], model: 'NVIDIA H200' },
  { busId: '10000:01:00.0', minor: 1, uuid: uuids[2], model: 'NVIDIA L4' },
];
const hidden = gpus.map((gpu) => ({ ...gpu, uuid: '' }));

/** Of the first GPU two, of the second one; with the GPU instances that hold them. */
const caps: MigCapability[] = [
  { gpu: 2, gi: 5, ci: null, capMinor: 48 },
  { gpu: 2, gi: 5, ci: 0, capMinor: 49 },
  { gpu: 2, gi: 1, ci: null, capMinor: 12 },
  { gpu: 2, gi: 1, ci: 0, capMinor: 13 },
  { gpu: 0, gi: 9, ci: null, capMinor: 300 },
  { gpu: 0, gi: 9, ci: 1, capMinor: 302 },
];

const smi: SmiFacts = {
  cuda: '13.0',
  gpus: gpus.map(({ busId, uuid, model }, index) => ({
    index,
    busId,
    uuid: uuid as string,
    name: model,
    computeCapability: '9.0',
    brand: 'NVIDIA',
    migEnabled: index < 2,
    migs: [
      [
        { index: 0, uuid: migUuids[0], gi: 1, ci: 0 },
        { index: 1, uuid: migUuids[1], gi: 5, ci: 0 },
      ],
      [{ index: 0, uuid: migUuids[2], gi: 9, ci: 1 }],
      [],
    ][index] as SmiFacts['gpus'][number]['migs'],
  })),
};

function select(list: string, all = gpus, mig: MigCapability[] = [], known: SmiFacts | null = null) {
  return selectGpus(list === 'all' || list === 'none' ? list : list.split(','), all, mig, known);
}

function refuse(...args: Parameters<typeof select>): Failure {
  try {
    select(...args);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it was found');
}

describe('GPUs', () => {
  test.each<[list: string, chosen: number[]]>([
    ['all', [0, 1, 2]],
    ['none', []],
    ['0', [0]],
    ['2,0', [0, 2]],
    ['1,01,1', [1]],
    [uuids[1], [1]],
    [uuids[1].toLowerCase(), [1]],
    [uuids[1].toUpperCase(), [1]],
    ['GPU-c', [2]],
    ['gpu-1A2B3', [0]],
    ['0000:af:00.0', [1]],
    ['00000000:AF:00.0', [1]],
    ['AF:00.0', [1]],
    ['00010000:01:00.0', [2]],
    [`0,${uuids[0]},0000:17:00.0`, [0]],
  ])('%s', (list, chosen) => {
    expect(select(list)).toEqual({ gpus: chosen, migs: [], needsSmi: false });
    expect(select(list, gpus, [], { ...smi, gpus: smi.gpus.map((gpu) => ({ ...gpu, migs: [] })) }).gpus).toEqual(
      chosen,
    );
  });

  test('however they are named and in whatever order, the same are chosen, each once', () => {
    const spell = (position: number) => {
      const { busId, uuid } = gpus[position] as SelectableGpu;
      const padded = busId.length > 12 ? `000${busId}` : `0000${busId}`;
      return fc.constantFrom(
        `${position}`,
        busId,
        padded,
        padded.toUpperCase(),
        uuid,
        uuid.toUpperCase(),
        uuid.slice(0, 12),
      );
    };
    const elements = fc.array(
      fc.nat({ max: 2 }).chain((position) => spell(position).map((element) => ({ position, element }))),
    );
    fc.assert(
      fc.property(elements, fc.boolean(), fc.boolean(), (list, isHidden, isSmiKnown) => {
        fc.pre(!isHidden || isSmiKnown);
        const chosen = selectGpus(
          list.map(({ element }) => element),
          isHidden ? hidden : gpus,
          caps,
          isSmiKnown ? smi : null,
        );
        const wanted = [...new Set(list.map(({ position }) => position))].sort();
        expect(chosen).toEqual({ gpus: wanted, migs: [], needsSmi: false });
      }),
    );
  });

  test("nvidia-smi's indexes win over the order of the bus ids", () => {
    const turned = { ...smi, gpus: smi.gpus.map((gpu) => ({ ...gpu, index: 2 - gpu.index })) };
    expect(select('0', gpus, [], turned).gpus).toEqual([2]);
    expect(select('0,1', gpus, [], turned).gpus).toEqual([1, 2]);
    expect(select('0', gpus, [], { cuda: '', gpus: [] }).gpus).toEqual([0]);
  });

  test('a UUID that the driver hides is asked of nvidia-smi', () => {
    expect(select(`0,${uuids[2]}`, hidden)).toEqual({ gpus: [0], migs: [], needsSmi: true });
    expect(select(`0,${uuids[2]}`, hidden, [], smi)).toEqual({ gpus: [0, 2], migs: [], needsSmi: false });
    const some = gpus.map((gpu, position) =>
      position === 2 ? { ...gpu, uuid: 'GPU-????????-????-????-????-????????????' } : gpu,
    );
    expect(select(uuids[0], some)).toEqual({ gpus: [0], migs: [], needsSmi: false });
    // Of the hidden one this may be the beginning, too.
    expect(select('GPU-1a2b3', some)).toEqual({ gpus: [], migs: [], needsSmi: true });
    expect(select('GPU-1a2b3', some, [], smi)).toEqual({ gpus: [0], migs: [], needsSmi: false });
  });

  test('without bus ids nvidia-smi is understood by its UUIDs', () => {
    const bare = { ...smi, gpus: smi.gpus.map((gpu) => ({ ...gpu, busId: '' })) };
    expect(select(migUuids[2], gpus, caps, bare)).toEqual({
      gpus: [1],
      migs: [{ gpu: 1, gi: 9, ci: 1 }],
      needsSmi: false,
    });
  });
});

describe('MIG devices', () => {
  const all = [
    { gpu: 0, gi: 1, ci: 0 },
    { gpu: 0, gi: 5, ci: 0 },
    { gpu: 1, gi: 9, ci: 1 },
  ];

  test('all come with all GPUs, without nvidia-smi', () => {
    expect(select('all', gpus, caps)).toEqual({ gpus: [0, 1, 2], migs: all, needsSmi: false });
    expect(select('all', hidden, caps, smi)).toEqual({ gpus: [0, 1, 2], migs: all, needsSmi: false });
    expect(select('0', gpus, caps)).toEqual({ gpus: [0], migs: [], needsSmi: false });
  });

  test.each<[list: string, chosen: number[], migs: number[]]>([
    [migUuids[1], [0], [1]],
    [migUuids[1].toUpperCase(), [0], [1]],
    ['MIG-c', [1], [2]],
    [migUuids[2].toLowerCase(), [1], [2]],
    ['0:0', [0], [0]],
    ['1:0,0:1', [0, 1], [1, 2]],
    [`0:0,${migUuids[0]},2`, [0, 2], [0]],
  ])('%s brings its GPU, and is asked of nvidia-smi', (list, chosen, migs) => {
    expect(select(list, gpus, caps, smi)).toEqual({ gpus: chosen, migs: migs.map((at) => all[at]), needsSmi: false });
    expect(select(list, gpus, caps)).toMatchObject({ migs: [], needsSmi: true });
  });

  test("older drivers' UUIDs tell the instances", () => {
    const old = `MIG-${uuids[0]}/5/0`;
    expect(select(old, gpus, caps)).toEqual({ gpus: [0], migs: [all[1]], needsSmi: false });
    expect(select(old, hidden, caps)).toEqual({ gpus: [], migs: [], needsSmi: true });
    expect(select(old.toLowerCase(), hidden, caps, smi)).toEqual({ gpus: [0], migs: [all[1]], needsSmi: false });
    expect(refuse('MIG-GPU-ffffffff/5/0', gpus, caps).message).toContain('there is no GPU MIG-GPU-ffffffff/5/0');
    expect(refuse(`MIG-${uuids[0]}/6/0`, gpus, caps).message).toContain(`there is no GPU MIG-${uuids[0]}/6/0`);
  });

  test('where no GPU has any, nvidia-smi is not asked', () => {
    expect(refuse(migUuids[0], gpus, []).message).toContain(migUuids[0]);
    expect(refuse('2:0', gpus, caps).message).toContain('2:0');
    expect(refuse('7:0', gpus, caps).message).toContain('7:0');
  });
});

describe('what is not there', () => {
  test.each([
    '3',
    '99999999999999999999',
    uuids[0].replace('1a2b', 'ffff'),
    '0000:18:00.0',
    '0001:17:00.0',
    '0:2',
    'MIG-dead',
    'x',
    '',
    'GPU-',
  ])('%s is named, with all that is', (element) => {
    const { message, hint } = refuse(element, gpus, caps, smi);
    expect(message).toBe(`there is no GPU ${element} on this host`);
    for (const known of [...uuids, ...migUuids, 'NVIDIA H200', 'NVIDIA L4', '0:1', '1:0'])
      expect(hint).toContain(known);
  });

  test('without nvidia-smi the list is shorter', () => {
    expect(refuse('3', gpus.slice(0, 1), caps).hint).toBe(`there is 0 (NVIDIA H200, ${uuids[0]}, with MIG devices)`);
    expect(refuse('3', hidden.slice(1)).hint).toBe('there are 0 (NVIDIA H200), 1 (NVIDIA L4)');
    expect(refuse('0', []).hint).toContain('nvidia-smi -L');
    expect(select('all', [])).toEqual({ gpus: [], migs: [], needsSmi: false });
  });

  test('the beginning of several UUIDs is refused, with these', () => {
    const { message, hint } = refuse('GPU-1a2b');
    expect(message).toBe('the UUIDs of several GPUs begin with GPU-1a2b');
    expect(hint).toContain(uuids[0]);
    expect(hint).toContain(uuids[1]);
    expect(hint).not.toContain(uuids[2]);
    expect(refuse('MIG-a', gpus, caps, smi).hint).toContain(migUuids[1]);
  });

  test('a GPU of /proc that nvidia-smi does not show has no index', () => {
    const fewer = { ...smi, gpus: smi.gpus.slice(1).map((gpu, index) => ({ ...gpu, index })) };
    expect(select('0', gpus, [], fewer).gpus).toEqual([1]);
    expect(select('0000:17:00.0', gpus, [], fewer).gpus).toEqual([0]);
    expect(refuse('2', gpus, [], fewer).hint).toContain('0000:17:00.0 (NVIDIA H200');
  });
});

test('any elements are resolved, left to nvidia-smi or refused; with its answers nothing is left', () => {
  const element = fc.oneof(
    fc.uint8Array({ maxLength: 8 }).map(fromBuffer),
    fc.constantFrom(
      '0',
      '0:0',
      '1:1',
      'GPU-1',
      'MIG-a',
      'MIG-c',
      ...uuids,
      ...migUuids,
      `MIG-${uuids[1]}/9/1`,
      '17:00.0',
    ),
  );
  fc.assert(
    fc.property(
      fc.array(element, { maxLength: 4 }),
      fc.boolean(),
      fc.option(fc.constant(smi)),
      (list, isHidden, known) => {
        try {
          const { gpus: chosen, migs, needsSmi } = selectGpus(list, isHidden ? hidden : gpus, caps, known);
          if (known !== null) expect(needsSmi).toBe(false);
          for (const { gpu } of migs) expect(chosen).toContain(gpu);
          for (const gpu of chosen) expect(gpu).toBeLessThan(gpus.length);
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
        }
      },
    ),
  );
});
