// SPDX-License-Identifier: Apache-2.0
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  compileGpuPrograms,
  copyDriver,
  type GpuPrograms,
  hasRealDriver,
  makeNodes,
  runGpuProgram,
} from './gpu-programs.ts';

let programs: GpuPrograms;
let nodes: string;

beforeAll(() => {
  programs = compileGpuPrograms();
  nodes = makeNodes(programs, 0, 3);
});

const host = () => ({ driver: programs.driver, nodes });
const check = (args: string, more: Readonly<Record<string, string>> = {}) =>
  runGpuProgram(programs.gpuCheck, args.split(' '), host(), more);
const norm = (args: string, more: Readonly<Record<string, string>> = {}) =>
  runGpuProgram(programs.gpuNorm, args.split(' '), host(), more);

const kernels = ['vectoradd', 'managed', 'jit', 'throughput 0.1'];

describe('gpu-check', () => {
  test('lists GPUs as nvidia-smi does, with bus id and memory', () => {
    expect(check('list')).toMatchObject({
      status: 0,
      stdout:
        'GPU 0: Stub (UUID: GPU-00000000-0000-4000-8000-000000000000) 0000:01:00.0 64 MiB\n' +
        'GPU 1: Stub (UUID: GPU-00000000-0000-4000-8000-000000000003) 0000:04:00.0 64 MiB\n',
      stderr: '',
    });
  });

  test.each([
    ['vectoradd', /^vectoradd: 1048576 sums are right\n$/],
    ['managed', /^managed: 1048576 numbers went to the GPU and back without a copy\n$/],
    ['jit', /^jit: compiled in [\d.]+ ms, 65536 loops counted right\n$/],
    ['throughput 0.1', /^throughput: [\d.]+ GFLOP\/s in single precision, [\d.]+ GB\/s of copying\n$/],
  ])('%s computes what the CPU computes, and prints one line', (args, line) => {
    expect(check(args)).toMatchObject({ status: 0, stdout: expect.stringMatching(line), stderr: '' });
  });

  test.each(kernels)('%s notices a single wrong number', (args) => {
    const ran = check(args, { STUB_CUDA_WRONG: '1' });
    expect(ran).toMatchObject({ status: 1, stdout: '' });
    expect(ran.stderr).toMatch(
      new RegExp(`^gpu-check: ${args.split(' ')[0]}: wrong result at \\d+: \\S+ instead of \\S+\\n$`),
    );
  });

  test.each([
    ['list', 'cuDeviceTotalMem_v2', 999, 'cuDeviceTotalMem: CUDA_ERROR_UNKNOWN (999)', 'nvidia-modprobe -u -c=0'],
    ['vectoradd', 'cuMemAlloc_v2', 2, 'cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (2)', 'nvidia-smi on the host'],
    ['managed', 'cuMemAllocManaged', 801, 'cuMemAllocManaged: unknown error (801)', ''],
    ['jit', 'cuModuleLoadDataEx', 221, 'cuModuleLoadDataEx: unknown error (221)', 'libnvidia-ptxjitcompiler.so.1'],
    ['throughput 0.1', 'cuEventSynchronize', 999, 'cuEventSynchronize: CUDA_ERROR_UNKNOWN (999)', 'nvidia-uvm'],
    ['list', 'cuInit', 803, 'cuInit: unknown error (803)', 'different versions'],
  ])('%s says that %s failed with %i, and what may help', (args, call, number, said, cure) => {
    const ran = check(args, { STUB_CUDA_FAIL: `${call}=${number}` });
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain(`gpu-check: ${said}: `);
    expect(ran.stderr.includes('\n  try: ')).toBe(cure !== '');
    expect(ran.stderr).toContain(cure);
  });

  test('fails with the name of the error where the driver finds no GPU', () => {
    const ran = runGpuProgram(programs.gpuCheck, ['list'], { ...host(), nodes: makeNodes(programs) });
    expect(ran).toMatchObject({ status: 1, stdout: '' });
    expect(ran.stderr).toMatch(/^gpu-check: cuInit: CUDA_ERROR_NO_DEVICE \(100\): .*\n {2}try: .*--gpus all\n$/);
  });

  test.skipIf(hasRealDriver)('ends with 77 where there is no libcuda.so.1', () => {
    const ran = runGpuProgram(programs.gpuCheck, ['jit'], { driver: '', nodes });
    expect(ran).toMatchObject({ status: 77, stdout: '' });
    expect(ran.stderr).toMatch(/^gpu-check: libcuda\.so\.1 is not here: /);
  });

  test.each(['', 'list all', 'throughput', 'throughput 0', 'throughput x', 'other'])('refuses "%s"', (args) => {
    expect(check(args)).toMatchObject({ status: 2, stdout: '', stderr: expect.stringMatching(/^usage: gpu-check /) });
  });
});

describe('gpu-norm', () => {
  /** The lines of its table, as lists of columns. */
  const rows = (stdout: string) =>
    (stdout.split('error\n')[1] ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => line.trim().split(/\s+/));

  test('agrees with the CPU and cuBLAS for sizes around those of groups, blocks and grids', () => {
    const sizes = ['1', '3', '4', '5', '255', '256', '257', '8191', '8192', '8193', '100003'];
    const ran = norm(`-r 1 ${sizes.join(' ')}`);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toContain('GPU     Stub\nCUDA    13.0, of the driver\ncuBLAS  libcublas.so.12\n');
    expect(rows(ran.stdout).map(([size]) => size)).toEqual(sizes);
    for (const row of rows(ran.stdout)) expect(row).toEqual([row[0], ...Array(6).fill(expect.any(String)), 'ok']);
  });

  test('does without cuBLAS', () => {
    const ran = runGpuProgram(programs.gpuNorm, ['-r', '1', '1000'], {
      driver: copyDriver(programs, 'libcuda.so.1'),
      nodes,
    });
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain('cuBLAS  not here\n');
    expect(rows(ran.stdout)[0]?.[3]).toBe('-');
  });

  test('calls a wrong result wrong', () => {
    const ran = norm('-r 1 1000', { STUB_CUDA_WRONG: '1' });
    expect(ran.status).toBe(1);
    expect(rows(ran.stdout)[0]?.at(-1)).toBe('WRONG');
  });

  test('ends with 77 where the driver finds no GPU', () => {
    const ran = runGpuProgram(programs.gpuNorm, [], { ...host(), nodes: makeNodes(programs) });
    expect(ran).toMatchObject({ status: 77, stdout: '', stderr: expect.stringContaining('the driver finds no GPU') });
  });

  test.skipIf(hasRealDriver)('ends with 77 where there is no libcuda.so.1', () => {
    const ran = runGpuProgram(programs.gpuNorm, [], { driver: '', nodes });
    expect(ran).toMatchObject({
      status: 77,
      stdout: '',
      stderr: expect.stringContaining('libcuda.so.1 is not here'),
    });
  });

  test.each(['0', '-1', '10 x', '-r', '-r 0 10', '10 1e6'])('refuses the arguments "%s"', (args) => {
    expect(norm(args)).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('usage: gpu-norm ') });
  });
});

describe('the stub of nvidia-smi', () => {
  const smi = (driver: string, nodeDir: string) =>
    runGpuProgram(path.join(programs.driver, 'nvidia-smi'), ['-L'], { driver, nodes: nodeDir });

  test('lists the nodes that can be opened, through libnvidia-ml.so.1', () => {
    expect(smi(programs.driver, nodes)).toMatchObject({
      status: 0,
      stdout:
        'GPU 0: Stub (UUID: GPU-00000000-0000-4000-8000-000000000000)\n' +
        'GPU 1: Stub (UUID: GPU-00000000-0000-4000-8000-000000000003)\n',
    });
  });

  test('ends with 6 where there are none', () => {
    expect(smi(programs.driver, makeNodes(programs))).toMatchObject({ status: 6, stdout: 'No devices found.\n' });
  });

  test.skipIf(hasRealDriver)('ends with 12 without the library', () => {
    expect(smi(copyDriver(programs, 'libcuda.so.1'), nodes).status).toBe(12);
  });
});
