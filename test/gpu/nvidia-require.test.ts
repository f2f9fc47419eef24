// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { checkRequirements, collectRequirements, type RequirementFacts } from '../../runtime/gpu/nvidia-require.ts';

const tesla: RequirementFacts = { cuda: '12.2', driver: '535.129.03', gpus: [{ arch: '7.0', brand: 'Tesla' }] };

function check(text: string, facts: Partial<RequirementFacts> = {}) {
  return checkRequirements(new Map([['NVIDIA_REQUIRE_CUDA', text]]), { ...tesla, ...facts });
}

function refuse(text: string): Failure {
  try {
    check(text);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it was understood');
}

describe('versions are compared by their numbers', () => {
  test.each<[text: string, ok: boolean]>([
    ['cuda>=12.2', true],
    ['cuda>12.2', false],
    ['cuda>=12.10', false],
    ['cuda<12.10', true],
    ['cuda=12.2.0', true],
    ['cuda=12.2.0.0', true],
    ['cuda!=12.2.0', false],
    ['cuda<=12', false],
    ['cuda<12.2.0.1', true],
    ['cuda>12', true],
    ['CUDA>=12.0', true],
    ['driver=535.129.3', true],
    ['driver>=535,driver<536', true],
    ['driver>=535.129.04', false],
    ['arch>=7', true],
    ['arch=7.5', false],
    ['arch<10.0', true],
  ])('%s', (text, ok) => {
    expect(check(text)).toEqual({ ok, failed: ok ? [] : [expect.anything()], unknown: false, skipped: [] });
  });
});

describe('brands', () => {
  test.each<[brand: string, text: string, ok: boolean]>([
    ['Tesla', 'brand=tesla', true],
    ['Tesla', 'brand=TESLA', true],
    ['Tesla', 'brand!=tesla', false],
    ['Tesla', 'brand=unknown', false],
    ['GeForce', 'brand=geforce', true],
    ['NVIDIA', 'brand=nvidia', true],
    ['NVIDIA', 'brand=unknown', true],
    ['NVIDIA', 'brand!=unknown', false],
    ['NVIDIA', 'brand=nvidiartx', false],
    ['NVIDIA RTX', 'brand=nvidiartx', true],
    ['Quadro RTX', 'brand=quadrortx', true],
    ['Quadro RTX', 'brand=quadro', false],
    ['NVIDIA RTX Virtual Workstation', 'brand=vws', true],
    ['NVIDIA Virtual Compute Server', 'brand=vcs', true],
    ['NVIDIA Cloud Gaming', 'brand=cloudgaming', true],
  ])('%s: %s', (brand, text, ok) => {
    expect(check(text, { gpus: [{ arch: '9.0', brand }] }).ok).toBe(ok);
  });
});

/** As NVIDIA's images have it, which list every brand with each older driver. */
const image =
  'cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471 brand=nvidia,driver>=470,driver<471 ' +
  'brand=geforce,driver>=470,driver<471 brand=tesla,driver>=535,driver<536 brand=unknown,driver>=535,driver<536 ' +
  'brand=nvidia,driver>=535,driver<536 brand=nvidiartx,driver>=535,driver<536';

describe('a requirement of a real image', () => {
  test.each<[what: string, facts: Partial<RequirementFacts>, ok: boolean]>([
    ['a new driver', { cuda: '12.4', driver: '550.54.15', gpus: [{ arch: '8.9', brand: 'GeForce' }] }, true],
    ['a data centre GPU with the driver 535', {}, true],
    ['one of a newer brand', { gpus: [{ arch: '9.0', brand: 'NVIDIA' }] }, true],
    ['a brand that is not listed', { gpus: [{ arch: '9.0', brand: 'NVIDIA Virtual PC' }] }, true],
    ['a GeForce with the driver 535', { gpus: [{ arch: '8.9', brand: 'GeForce' }] }, false],
    ['a data centre GPU with the driver 525', { cuda: '12.0', driver: '525.60.13' }, false],
    ['one of two GPUs', { gpus: [...tesla.gpus, { arch: '8.9', brand: 'GeForce' }] }, false],
    ['no GPU', { gpus: [] }, true],
    ['no GPU, driver 525', { cuda: '12.0', driver: '525.60.13', gpus: [] }, false],
  ])('%s', (_what, facts, ok) => {
    expect(check(image, facts)).toMatchObject({ ok, unknown: false, skipped: [] });
  });

  test('is told in few words, each reason once', () => {
    expect(check(image, { gpus: [{ arch: '8.9', brand: 'GeForce' }] }).failed).toEqual([
      {
        variable: 'NVIDIA_REQUIRE_CUDA',
        why: 'wants cuda>=12.4 (it is 12.2), or brand=tesla (it is GeForce), or brand=unknown (it is GeForce), or 3 more',
      },
    ]);
    expect(check('brand=tesla,driver>=535,driver<535.100', {}).failed[0]?.why).toBe(
      'wants driver<535.100 (it is 535.129.03)',
    );
    expect(check('cuda>=12.4,driver>1', {}).failed).toEqual([
      { variable: 'NVIDIA_REQUIRE_CUDA', why: 'wants cuda>=12.4 (it is 12.2)' },
    ]);
  });
});

describe('a fact that is not known', () => {
  const blind = { cuda: null, driver: null, gpus: [{ arch: null, brand: null }] };

  test('counts as satisfied, and it is said that the verdict hangs on it', () => {
    for (const text of ['cuda>=99', 'driver=1', 'arch<1', 'brand=tesla', 'brand!=tesla']) {
      expect(check(text, blind), text).toMatchObject({ ok: true, unknown: true });
    }
  });

  test('does not matter where other facts decide', () => {
    expect(check('cuda>=12.0 brand=tesla', { gpus: blind.gpus })).toMatchObject({ ok: true, unknown: false });
    expect(check('cuda>=99,brand=tesla', { gpus: blind.gpus })).toMatchObject({ ok: false, unknown: false });
    expect(check('cuda>=99 brand=tesla', { gpus: blind.gpus })).toMatchObject({ ok: true, unknown: true });
  });

  test('is also one that is no version', () => {
    expect(check('cuda>=99', { cuda: 'Not Found' })).toMatchObject({ ok: true, unknown: true });
  });

  test('of a GPU is none where there is no GPU', () => {
    expect(check('arch>=99,brand=tesla', { gpus: [] })).toMatchObject({ ok: true, unknown: false });
  });
});

describe('the list of requirements', () => {
  test('all variables must be satisfied', () => {
    const variables = new Map([
      ['NVIDIA_REQUIRE_A', 'cuda>=12.0'],
      ['NVIDIA_REQUIRE_B', 'arch>=8.0'],
      ['NVIDIA_REQUIRE_C', 'driver>=600'],
    ]);
    expect(checkRequirements(variables, tesla).failed).toEqual([
      { variable: 'NVIDIA_REQUIRE_B', why: 'wants arch>=8.0 (it is 7.0)' },
      { variable: 'NVIDIA_REQUIRE_C', why: 'wants driver>=600 (it is 535.129.03)' },
    ]);
  });

  test('empty parts say nothing', () => {
    for (const text of ['', ' ', ',', ' , ,', '\t']) expect(check(text).ok, JSON.stringify(text)).toBe(true);
    expect(check(', cuda>=99').ok).toBe(false);
    expect(check('  ,cuda>=12.0,,  cuda>=99 ').ok).toBe(true);
  });

  test('unknown names are passed over and told', () => {
    expect(check('cuda>=12.0,os=linux')).toMatchObject({ ok: true, skipped: ['os'] });
    expect(check('os=linux cuda>=99 os=bsd')).toMatchObject({ ok: false, skipped: ['os'] });
    expect(check('os=linux')).toMatchObject({ ok: true, unknown: false, skipped: ['os'] });
  });

  test("Jetson's variables are not for this", () => {
    const variables = new Map([
      ['NVIDIA_REQUIRE_JETPACK', 'csv-mounts=all'],
      ['NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS', 'base-only'],
    ]);
    expect(checkRequirements(variables, tesla)).toEqual({ ok: true, failed: [], unknown: false, skipped: [] });
  });

  test.each<[text: string, why: string]>([
    ['cuda', 'it should be NAME'],
    ['cuda>=', 'it should be NAME'],
    ['>=12', 'it should be NAME'],
    ['cuda==12', 'it should be NAME'],
    ['cuda=>12', 'it should be NAME'],
    ['cuda!12', 'it should be NAME'],
    ['cuda>=v12', 'v12 is not a version'],
    ['arch>=.5', '.5 is not a version'],
    ['driver>=535>1', '535>1 is not a version'],
    ['brand>tesla', 'a brand can be compared by = and != only'],
    ['cuda>=12.0 nonsense', 'nonsense is no requirement'],
  ])('%s is refused', (text, why) => {
    const failure = refuse(text);
    expect(failure.message).toMatch(/^NVIDIA_REQUIRE_CUDA: /);
    expect(failure.message).toContain(why);
    expect(failure.hint).toContain('NVIDIA_DISABLE_REQUIRE=1');
  });
});

describe('the requirements of an environment', () => {
  const collect = (env: Record<string, string>) =>
    Object.fromEntries(collectRequirements(new Map(Object.entries(env))));

  test('are those of the variables, without empty ones', () => {
    expect(
      collect({ NVIDIA_REQUIRE_B: 'arch>=7', NVIDIA_REQUIRE_A: 'cuda>=9', NVIDIA_REQUIRE_C: ' ', OTHER: 'x' }),
    ).toEqual({
      NVIDIA_REQUIRE_A: 'cuda>=9',
      NVIDIA_REQUIRE_B: 'arch>=7',
    });
  });

  test('of an older image are its CUDA version', () => {
    expect(collect({ CUDA_VERSION: '8.0.61' })).toEqual({ CUDA_VERSION: 'cuda>=8.0' });
    expect(collect({ CUDA_VERSION: 'v9.1.85', NVIDIA_REQUIRE_X: 'arch>=6' })).toEqual({
      CUDA_VERSION: 'cuda>=9.1',
      NVIDIA_REQUIRE_X: 'arch>=6',
    });
    expect(collect({ CUDA_VERSION: '12.4.1', NVIDIA_REQUIRE_CUDA: 'cuda>=12.4' })).toEqual({
      NVIDIA_REQUIRE_CUDA: 'cuda>=12.4',
    });
    expect(collect({ CUDA_VERSION: 'nightly' })).toEqual({});
  });

  test('are none when they are switched off', () => {
    for (const value of ['1', 'true', 'yes', 'x']) {
      expect(collect({ NVIDIA_REQUIRE_CUDA: 'cuda>=9', NVIDIA_DISABLE_REQUIRE: value }), value).toEqual({});
    }
    for (const value of ['', '0', 'false', 'False', 'F']) {
      expect(collect({ NVIDIA_REQUIRE_CUDA: 'cuda>=9', NVIDIA_DISABLE_REQUIRE: value }), value).not.toEqual({});
    }
  });
});
