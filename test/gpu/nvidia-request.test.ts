// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { readNvidiaRequest } from '../../runtime/gpu/nvidia-request.ts';
import { capabilities } from '../../runtime/gpu/nvidia-tables.ts';
import { fromBuffer } from '../../src/format/bytes.ts';

const uuid = 'GPU-5a3f9c1e-0b7d-4e2a-9c55-1f6d2a7b8c90';
const migUuid = 'MIG-7d0e5b42-91aa-5c3f-8e21-c4b6a9f01d37';

function read(env: Record<string, string>, gpus: string | null = null, imageHasCuda = false) {
  return readNvidiaRequest({ gpus, env: (name) => env[name], imageHasCuda });
}

function refuse(env: Record<string, string>, gpus: string | null = null): Failure {
  try {
    read(env, gpus);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it was understood');
}

describe('who asks for GPUs', () => {
  test('nobody, when nothing is set: then nothing else is looked at', () => {
    const request = read({
      NVIDIA_DRIVER_CAPABILITIES: 'bogus',
      NVIDIA_IMEX_CHANNELS: 'x',
      NVIDIA_MIG_CONFIG_DEVICES: '0',
    });
    expect(request).toEqual({
      asked: null,
      devices: 'void',
      cdi: [],
      capabilities: new Set(['compute', 'utility']),
      imexChannels: [],
      flags: { gdrcopy: false, gds: false, mofed: false, nvswitch: false },
      migConfig: false,
      migMonitor: false,
      mpsPipe: '/tmp/nvidia-mps',
    });
  });

  test('the option is stronger than the variable', () => {
    expect(read({ NVIDIA_VISIBLE_DEVICES: '0' }, 'none')).toMatchObject({ asked: 'option', devices: 'none' });
    expect(read({ NVIDIA_VISIBLE_DEVICES: 'void' }, '1')).toMatchObject({ asked: 'option', devices: ['1'] });
    expect(read({ NVIDIA_VISIBLE_DEVICES: 'all' }, 'void')).toMatchObject({ asked: null, devices: 'void' });
  });

  test('an image with a library of CUDA asks for all, unless the variable says something', () => {
    expect(read({}, null, true)).toMatchObject({ asked: 'image-library', devices: 'all' });
    expect([...read({}, null, true).capabilities]).toEqual(['compute', 'utility']);
    for (const off of ['', 'void', 'all,void', ' , ']) {
      expect(read({ NVIDIA_VISIBLE_DEVICES: off }, null, true), off).toMatchObject({ asked: null, devices: 'void' });
    }
    expect(read({ NVIDIA_VISIBLE_DEVICES: '0' }, null, true)).toMatchObject({ asked: 'variable', devices: ['0'] });
  });

  test('an image from before NVIDIA_REQUIRE_CUDA asks for everything', () => {
    const old = read({ CUDA_VERSION: '8.0.61' });
    expect(old).toMatchObject({ asked: 'image-library', devices: 'all' });
    expect([...old.capabilities]).toEqual([...capabilities]);
    expect(read({ CUDA_VERSION: '8.0.61', NVIDIA_REQUIRE_CUDA: 'cuda>=8.0' }).asked).toBeNull();
    expect(read({ CUDA_VERSION: '' }).asked).toBeNull();
    // Said with an empty value, they are the usual ones.
    const both = read({ CUDA_VERSION: '8.0.61', NVIDIA_VISIBLE_DEVICES: '0', NVIDIA_DRIVER_CAPABILITIES: '' });
    expect(both).toMatchObject({ asked: 'variable', devices: ['0'] });
    expect([...both.capabilities]).toEqual(['compute', 'utility']);
  });
});

describe('which GPUs', () => {
  test.each<[text: string, devices: unknown]>([
    ['all', 'all'],
    ['none', 'none'],
    ['0,all', 'all'],
    ['all,0,none', 'none'],
    ['0', ['0']],
    [' 0 ,, 3,', ['0', '3']],
    ['0,1,0', ['0', '1']],
    [uuid, [uuid]],
    [uuid.toLowerCase(), [uuid.toLowerCase()]],
    ['GPU-5a3f', ['GPU-5a3f']],
    [migUuid, [migUuid]],
    [`MIG-${uuid}/7/0`, [`MIG-${uuid}/7/0`]],
    ['0:1,10:0', ['0:1', '10:0']],
    ['0000:65:00.0,00000001:AF:00.0', ['0000:65:00.0', '00000001:AF:00.0']],
    ['runtime.nvidia.com/gpu=all', 'all'],
    ['runtime.nvidia.com/gpu=1,2', ['1', '2']],
  ])('%s', (text, devices) => {
    expect(read({ NVIDIA_VISIBLE_DEVICES: text })).toMatchObject({ asked: 'variable', devices, cdi: [] });
    expect(read({}, text)).toMatchObject({ asked: 'option', devices, cdi: [] });
  });

  test.each<[text: string, devices: unknown]>([
    ['device=0', ['0']],
    ['device=0,1', ['0', '1']],
    ['"device=0,1"', ['0', '1']],
    ['device=0,device=1', ['0', '1']],
    [`"device=${uuid},2"`, [uuid, '2']],
    ['device=all', 'all'],
  ])("docker's spelling %s is understood as an option", (text, devices) => {
    expect(read({}, text)).toMatchObject({ asked: 'option', devices });
  });

  test('qualified names of CDI stand beside other elements, or alone', () => {
    const names = 'nvidia.com/gpu=0,amd.com/gpu=gpu_1,Vendor.IO/Net-Dev=A:b.c-D';
    expect(read({ NVIDIA_VISIBLE_DEVICES: `${names},amd.com/gpu=gpu_1` })).toMatchObject({
      asked: 'variable',
      devices: 'void',
      cdi: names.split(','),
    });
    expect(read({}, `1,amd.com/gpu=0`)).toMatchObject({ asked: 'option', devices: ['1'], cdi: ['amd.com/gpu=0'] });
    expect(read({ NVIDIA_VISIBLE_DEVICES: `void,amd.com/gpu=0` })).toMatchObject({ asked: null, cdi: [] });
  });

  test.each([
    'gpu0',
    '-1',
    '0-3',
    '0:1:2',
    'GPU-',
    'GPU-xyz',
    'MIG-',
    '65:00.9',
    'ALL',
    'a/b',
    '/c=d',
    'a/b=',
    '0/b=c',
    'a/b=c_',
  ])('%s is no name of a GPU, which is said with the possible ones', (text) => {
    const variable = refuse({ NVIDIA_VISIBLE_DEVICES: `0,${text}` });
    expect(variable.message).toBe(`NVIDIA_VISIBLE_DEVICES=0,${text}: ${text} is not the name of a GPU`);
    expect(variable.hint).toMatch(/all, none, void.*0,1.*GPU-.*MIG-.*0:1.*0000:65:00\.0.*vendor\/class=name/);
    expect(refuse({}, text)).toMatchObject({ message: `--gpus ${text}: ${text} is not the name of a GPU` });
  });

  test('an option that names nothing, or what docker alone knows, is refused', () => {
    for (const text of ['', ',', '""', 'device=', '"device="']) {
      expect(refuse({}, text).message, text).toBe(`--gpus ${text}: this names no GPU`);
    }
    expect(refuse({}, 'count=2').message).toContain('count= is not understood');
    expect(refuse({}, '"device=0,1",capabilities=video').hint).toContain('NVIDIA_DRIVER_CAPABILITIES');
  });

  test('control characters do not reach the message', () => {
    expect(refuse({}, '0\x1b[2J').message).toBe('--gpus 0\\x1b[2J: 0\\x1b[2J is not the name of a GPU');
  });
});

describe('what of the driver', () => {
  const asking = (env: Record<string, string>) => read({ NVIDIA_VISIBLE_DEVICES: 'all', ...env });

  test.each<[text: string, names: readonly string[]]>([
    ['', ['compute', 'utility']],
    [' , ', ['compute', 'utility']],
    ['utility', ['utility']],
    ['video,compute,compute', ['compute', 'video']],
    [' ngx , display,', ['display', 'ngx']],
    ['all', capabilities],
    ['compute,all', capabilities],
  ])('capabilities %j', (text, names) => {
    expect([...asking({ NVIDIA_DRIVER_CAPABILITIES: text }).capabilities]).toEqual(names);
  });

  test.each(['computing', 'COMPUTE', 'none', 'all,x'])('there is no capability %s', (text) => {
    const failure = refuse({ NVIDIA_VISIBLE_DEVICES: 'all', NVIDIA_DRIVER_CAPABILITIES: text });
    expect(failure.message).toMatch(/^NVIDIA_DRIVER_CAPABILITIES=.*: there is no capability /);
    for (const name of capabilities) expect(failure.hint).toContain(name);
  });

  test('IMEX channels are numbers below 2^20, each once; all is passed over', () => {
    expect(asking({ NVIDIA_IMEX_CHANNELS: '0, 5,5,1048575' }).imexChannels).toEqual([0, 5, 1048575]);
    expect(asking({ NVIDIA_IMEX_CHANNELS: 'all' }).imexChannels).toEqual([]);
    for (const wrong of ['1048576', '-1', 'x', '99999999999999']) {
      const failure = refuse({ NVIDIA_VISIBLE_DEVICES: 'all', NVIDIA_IMEX_CHANNELS: `0,${wrong}` });
      expect(failure.message).toContain(`${wrong} is not a channel`);
      expect(failure.hint).toContain('0 to 1048575');
    }
  });

  test('further devices are asked for by the word enabled only', () => {
    expect(asking({ NVIDIA_GDRCOPY: 'enabled', NVIDIA_MOFED: 'enabled', NVIDIA_GDS: '1' }).flags).toEqual({
      gdrcopy: true,
      gds: false,
      mofed: true,
      nvswitch: false,
    });
    expect(asking({ NVIDIA_GDS: 'enabled', NVIDIA_NVSWITCH: 'enabled' }).flags).toMatchObject({
      gds: true,
      nvswitch: true,
    });
  });

  test('administration of MIG is for all GPUs or not at all', () => {
    expect(asking({ NVIDIA_MIG_CONFIG_DEVICES: 'all' })).toMatchObject({ migConfig: true, migMonitor: false });
    expect(asking({ NVIDIA_MIG_MONITOR_DEVICES: 'all,' })).toMatchObject({ migConfig: false, migMonitor: true });
    expect(asking({ NVIDIA_MIG_CONFIG_DEVICES: '' })).toMatchObject({ migConfig: false });
    const failure = refuse({ NVIDIA_VISIBLE_DEVICES: 'all', NVIDIA_MIG_MONITOR_DEVICES: '0' });
    expect(failure.message).toBe('NVIDIA_MIG_MONITOR_DEVICES=0: only all can be asked for');
  });

  test("the MPS daemon's directory", () => {
    expect(asking({}).mpsPipe).toBe('/tmp/nvidia-mps');
    expect(asking({ CUDA_MPS_PIPE_DIRECTORY: '' }).mpsPipe).toBe('/tmp/nvidia-mps');
    expect(asking({ CUDA_MPS_PIPE_DIRECTORY: '/run/mps' }).mpsPipe).toBe('/run/mps');
  });
});

test('whatever the variables hold, there is a request or a failure that names one of them, and nobody asks for nothing', () => {
  const text = fc.oneof(
    fc.uint8Array({ maxLength: 12 }).map(fromBuffer),
    fc
      .array(fc.constantFrom('0', 'all', 'none', 'void', '', '0:0', uuid, 'a.b/c=d', '"', 'device=', 'x', 'compute'), {
        maxLength: 4,
      })
      .map((list) => list.join(',')),
  );
  const env = fc.dictionary(
    fc.constantFrom('NVIDIA_VISIBLE_DEVICES', 'NVIDIA_DRIVER_CAPABILITIES', 'NVIDIA_IMEX_CHANNELS', 'CUDA_VERSION'),
    text,
  );
  fc.assert(
    fc.property(env, fc.option(text), fc.boolean(), (variables, gpus, imageHasCuda) => {
      try {
        const { asked, devices, cdi, capabilities: wanted } = read(variables, gpus, imageHasCuda);
        expect(asked === null).toBe(devices === 'void' && cdi.length === 0);
        expect(wanted.size).toBeGreaterThan(0);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        expect(error.message).toMatch(/^(--gpus |NVIDIA_\w+=)/);
        expect(error.hint).not.toBe('');
      }
    }),
  );
});
