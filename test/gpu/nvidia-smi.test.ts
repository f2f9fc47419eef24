// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { normalizeBusId, readSmi, smiQuestions } from '../../runtime/gpu/nvidia-smi.ts';
import { fromBuffer } from '../../src/format/bytes.ts';
import { type LoggedGpu, log, logMig } from './smi-log.ts';

const uuid = (digit: string) => `GPU-${digit.repeat(8)}-0a1b-4c2d-8e3f-${digit.repeat(12)}`;
const migUuid = (digit: string) => `MIG-${digit.repeat(8)}-0a1b-5c2d-8e3f-${digit.repeat(12)}`;

const h200: LoggedGpu = {
  bus: '00000000:1A:00.0',
  name: 'NVIDIA H200',
  brand: 'NVIDIA',
  uuid: uuid('a'),
  mig: 'Enabled',
  migs: logMig(0, 1, 0) + logMig(1, 2, 0) + logMig(2, 7, 1),
};
const plain: LoggedGpu = {
  bus: '00000000:3C:00.0',
  name: 'NVIDIA H200',
  brand: 'NVIDIA',
  uuid: uuid('b'),
  mig: 'Disabled',
};
const migHost = {
  gpus: `0, 00000000:1A:00.0, ${uuid('a')}, NVIDIA H200, 9.0, Enabled\n1, 00000000:3C:00.0, ${uuid('b')}, NVIDIA H200, 9.0, Disabled\n`,
  list: `GPU 0: NVIDIA H200 (UUID: ${uuid('a')})
  MIG 1g.18gb     Device  0: (UUID: ${migUuid('1')})
  MIG 1g.18gb     Device  1: (UUID: ${migUuid('2')})
  MIG 1c.2g.35gb  Device  2: (UUID: ${migUuid('7')})
GPU 1: NVIDIA H200 (UUID: ${uuid('b')})
`,
  log: log('\t<driver_version>580.95.05</driver_version>\n\t<cuda_version>13.0</cuda_version>', [h200, plain]),
};

describe('a host whose GPU has MIG devices', () => {
  const first = {
    index: 0,
    busId: '0000:1a:00.0',
    uuid: uuid('a'),
    name: 'NVIDIA H200',
    computeCapability: '9.0',
    brand: 'NVIDIA',
    migEnabled: true,
    migs: [
      { index: 0, uuid: migUuid('1'), gi: 1, ci: 0 },
      { index: 1, uuid: migUuid('2'), gi: 2, ci: 0 },
      { index: 2, uuid: migUuid('7'), gi: 7, ci: 1 },
    ],
  };

  test('is told by all answers together', () => {
    expect(readSmi(migHost)).toEqual({
      cuda: '13.0',
      gpus: [first, { ...first, index: 1, busId: '0000:3c:00.0', uuid: uuid('b'), migEnabled: false, migs: [] }],
    });
  });

  test('each answer tells its part', () => {
    const [bare] = readSmi({ log: migHost.log }).gpus;
    expect(bare).toEqual({ ...first, computeCapability: '', migs: first.migs.map((mig) => ({ ...mig, uuid: '' })) });
    expect(readSmi({ gpus: migHost.gpus })).toMatchObject({
      cuda: '',
      gpus: [{ ...first, brand: '', migs: [] }, { index: 1 }],
    });
    expect(readSmi({ list: migHost.list, gpus: null, log: null }).gpus).toMatchObject([
      { index: 0, uuid: uuid('a'), name: 'NVIDIA H200', busId: '', migEnabled: false, migs: [] },
      { index: 1, uuid: uuid('b'), name: 'NVIDIA H200', busId: '', migEnabled: false, migs: [] },
    ]);
    expect(readSmi({})).toEqual({ cuda: '', gpus: [] });
  });

  test('older drivers name MIG devices by their GPU', () => {
    const old = `GPU 0: A100-PCIE-40GB (UUID: ${uuid('c')})\n  MIG 3g.20gb Device 0: (UUID: MIG-${uuid('c')}/1/0)\n`;
    const gpu = { ...h200, name: 'A100-PCIE-40GB', uuid: uuid('c'), migs: logMig(0, 1, 0) };
    expect(readSmi({ list: old, log: log('', [gpu]) }).gpus).toMatchObject([
      { name: 'A100-PCIE-40GB', migs: [{ index: 0, uuid: `MIG-${uuid('c')}/1/0`, gi: 1, ci: 0 }] },
    ]);
  });

  test('where the log gives all MIG devices the same index, their order counts', () => {
    const gpu = { ...h200, migs: logMig(0, 1, 0) + logMig(0, 2, 0) + logMig(0, 7, 1) };
    expect(readSmi({ list: migHost.list, log: log('', [gpu]) }).gpus[0]?.migs).toEqual(first.migs);
  });

  test('a MIG device without its ids is left out', () => {
    const gpu = { ...h200, migs: logMig(0, 'N/A', 0) + logMig(1, 2, 0) };
    expect(readSmi({ list: migHost.list, log: log('', [gpu]) }).gpus[0]?.migs).toEqual([first.migs[1]]);
  });
});

describe('other drivers', () => {
  test('R610 and later call the version of CUDA by another name', () => {
    const versions = `\t<driver_version>615.71.09</driver_version>
\t<!-- driver_version is deprecated and will be removed in CUDA 14.0; use kmd_version instead -->
\t<kmd_version>615.71.09</kmd_version>
\t<cuda_umd_version>13.4</cuda_umd_version>`;
    const old = `\t<cuda_version>13.3</cuda_version>\n\t<!-- cuda_version is deprecated -->\n${versions}`;
    const gpu = { ...plain, bus: '00000002:81:00.0' };
    expect(readSmi({ log: log(versions, [gpu]) })).toMatchObject({ cuda: '13.4', gpus: [{ busId: '0002:81:00.0' }] });
    expect(readSmi({ log: log(old, [gpu]) }).cuda).toBe('13.4');
  });

  test('R390 refuses the query and knows neither CUDA nor MIG', () => {
    const gtx = `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v9.dtd">
<nvidia_smi_log>
\t<driver_version>390.157</driver_version>
\t<attached_gpus>1</attached_gpus>
\t<gpu id="00000000:01:00.0">
\t\t<product_name>GeForce GTX 1060 6GB</product_name>
\t\t<product_brand>GeForce</product_brand>
\t\t<uuid>${uuid('d')}</uuid>
\t</gpu>

</nvidia_smi_log>
`;
    const answers = {
      gpus: 'Field "compute_cap" is not a valid field to query.\n\n',
      list: `GPU 0: GeForce GTX 1060 6GB (UUID: ${uuid('d')})\n`,
      log: gtx,
    };
    expect(readSmi(answers)).toEqual({
      cuda: '',
      gpus: [
        {
          index: 0,
          busId: '0000:01:00.0',
          uuid: uuid('d'),
          name: 'GeForce GTX 1060 6GB',
          computeCapability: '',
          brand: 'GeForce',
          migEnabled: false,
          migs: [],
        },
      ],
    });
  });

  test.each([
    'N/A',
    '[N/A]',
    '[Not Supported]',
    '[Unknown Error]',
    'Unknown Error',
    '[GPU is lost]',
    'Not Found',
    'ERR!',
  ])('%s is nothing told', (word) => {
    const text = log(`\t<cuda_version>${word}</cuda_version>`, [
      { ...plain, name: word, brand: word, uuid: word, mig: word },
    ]);
    const row = `0, 00000000:3C:00.0, ${word}, ${word}, ${word}, ${word}\n`;
    const facts = {
      cuda: '',
      gpus: [{ uuid: '', name: '', brand: '', computeCapability: '', migEnabled: false, migs: [] }],
    };
    expect(readSmi({ log: text, gpus: row })).toMatchObject(facts);
  });

  test('one answer makes up for what another does not tell', () => {
    const row = `4, 00000000:3C:00.0, [N/A], [N/A], 9.0, [N/A]\n`;
    const [gpu, ...more] = readSmi({ gpus: row, log: log('', [plain]) }).gpus;
    expect(gpu).toMatchObject({
      index: 4,
      uuid: uuid('b'),
      name: 'NVIDIA H200',
      brand: 'NVIDIA',
      computeCapability: '9.0',
    });
    expect(more).toEqual([]);
  });

  test('indexes are those of the query, also where the log has another order', () => {
    const turned = migHost.gpus.replace('0, 00000000:1A', '9, 00000000:1A');
    expect(readSmi({ gpus: turned, log: migHost.log }).gpus).toMatchObject([
      { index: 1, busId: '0000:3c:00.0', migs: [] },
      { index: 9, busId: '0000:1a:00.0', migs: [{ gi: 1 }, { gi: 2 }, { gi: 7 }] },
    ]);
  });

  test('warnings and errors between the lines are passed over', () => {
    const noise =
      'WARNING: infoROM is corrupted at gpu 0000:3C:00.0\nUnable to determine the device handle for GPU1: 0000:B3:00.0: Unknown Error\n';
    expect(
      readSmi({ gpus: noise + migHost.gpus + noise, list: noise + migHost.list, log: noise + migHost.log }),
    ).toEqual(readSmi(migHost));
    for (const row of ['x, 00000000:3C:00.0, a, b, c, d', '0, 3C:00, a, b, c, d', '0, 00000000:3C:00.0, a, b, c']) {
      expect(readSmi({ gpus: row }).gpus, row).toEqual([]);
    }
    expect(
      readSmi({ gpus: 'No devices were found\n', list: 'No devices were found\n', log: 'No devices were found\n' }),
    ).toEqual({
      cuda: '',
      gpus: [],
    });
  });

  test('names with commas, marks and entities stay whole', () => {
    const gpu = { ...plain, name: ' NVIDIA A &amp; B &lt;C&gt;\n' };
    expect(readSmi({ log: log('', [gpu]) }).gpus[0]?.name).toBe('NVIDIA A & B <C>');
    expect(readSmi({ gpus: `0, 00000000:3C:00.0, ${uuid('b')}, One, Two, 9.0, N/A` }).gpus[0]?.name).toBe('One, Two');
    expect(readSmi({ list: `GPU 0: Card (old) (UUID: ${uuid('b')})` }).gpus[0]?.name).toBe('Card (old)');
  });
});

test('answers that are cut off or damaged tell less, and never fail', () => {
  const damage = (text: string) =>
    fc
      .tuple(
        fc.nat({ max: text.length }),
        fc.nat({ max: text.length }),
        fc.uint8Array({ maxLength: 5 }).map(fromBuffer),
      )
      .map(([one, other, junk]) => text.slice(0, Math.min(one, other)) + junk + text.slice(Math.max(one, other)));
  const cut = (text: string) => fc.nat({ max: text.length }).map((length) => text.slice(0, length));
  const anyOf = (text: string) => fc.oneof(damage(text), cut(text), fc.uint8Array({ maxLength: 30 }).map(fromBuffer));
  fc.assert(
    fc.property(anyOf(migHost.gpus), anyOf(migHost.list), anyOf(migHost.log), (gpus, list, text) => {
      const facts = readSmi({ gpus, list, log: text });
      const indexes = facts.gpus.map(({ index }) => index);
      expect(indexes).toEqual([...new Set(indexes)].sort((one, other) => one - other));
      for (const gpu of facts.gpus) {
        expect(gpu.busId === '' || normalizeBusId(gpu.busId) === gpu.busId).toBe(true);
        for (const { gi, ci } of gpu.migs) expect(Number.isSafeInteger(gi) && Number.isSafeInteger(ci)).toBe(true);
      }
    }),
  );
});

test('bus ids have one form, and nothing else is one', () => {
  const hex = (digits: number) =>
    fc.integer({ min: 0, max: 16 ** digits - 1 }).map((n) => n.toString(16).padStart(digits, '0'));
  fc.assert(
    fc.property(hex(4), hex(2), hex(2), fc.nat({ max: 7 }), (domain, bus, device, part) => {
      const own = `${domain}:${bus}:${device}.${part}`;
      expect(normalizeBusId(own)).toBe(own);
      expect(normalizeBusId(`0000${own}`.toUpperCase())).toBe(own);
    }),
  );
  expect(normalizeBusId('00010000:01:00.0')).toBe('10000:01:00.0');
  expect(normalizeBusId('3C:00.0')).toBe('0000:3c:00.0');
  for (const wrong of [
    '',
    '0',
    '0:1',
    '0000:65:00',
    '0000:65:00.8',
    'x000:65:00.0',
    '0000:065:00.0',
    '000000000:65:00.0',
    ' 65:00.0',
  ])
    expect(normalizeBusId(wrong), wrong).toBeNull();
});

test('the questions are those of nvidia-smi(1)', () => {
  expect(Object.values(smiQuestions).map((args) => args.join(' '))).toEqual([
    '--query-gpu=index,pci.bus_id,uuid,name,compute_cap,mig.mode.current --format=csv,noheader',
    '-L',
    '-q -x',
  ]);
});
