// SPDX-License-Identifier: Apache-2.0

/**
 * The newest CUDA version that the drivers of a branch support, oldest branch first. Source: the table of toolkit and driver versions in
 * NVIDIA's CUDA release notes; since CUDA 13.4 toolkits bring no driver, so for R615 what its nvidia-smi says, and for R620 NVIDIA's list of
 * the files of driver 620.70.06, whose cuda_compat is that of CUDA 13.5.
 */
const branches: readonly (readonly [branch: number, cuda: string])[] = [
  [346, '7.0'],
  [352, '7.5'],
  [367, '8.0'],
  [375, '8.0'],
  [384, '9.0'],
  [387, '9.1'],
  [390, '9.1'],
  [396, '9.2'],
  [410, '10.0'],
  [418, '10.1'],
  [440, '10.2'],
  [450, '11.0'],
  [455, '11.1'],
  [460, '11.2'],
  [465, '11.3'],
  [470, '11.4'],
  [495, '11.5'],
  [510, '11.6'],
  [515, '11.7'],
  [520, '11.8'],
  [525, '12.0'],
  [530, '12.1'],
  [535, '12.2'],
  [545, '12.3'],
  [550, '12.4'],
  [555, '12.5'],
  [560, '12.6'],
  [565, '12.7'],
  [570, '12.8'],
  [575, '12.9'],
  [580, '13.0'],
  [590, '13.1'],
  [595, '13.2'],
  [610, '13.3'],
  [615, '13.4'],
  [620, '13.5'],
];

/** Branches are numbered in steps of 5, so a driver this far above the last one is of a branch that the table does not have. */
const branchStep = 5;

/**
 * The newest CUDA version that a driver (`580.95.05`) supports, such as `13.0`: that of the newest branch that is not newer than it. null
 * for text that is no version, and for drivers older or newer than the table, where only nvidia-smi can tell.
 */
export function cudaOfDriver(version: string): string | null {
  const major = Number(/^(\d{1,6})(?:\.\d+)*$/.exec(version)?.[1] ?? Number.NaN);
  const [newest = 0] = branches.at(-1) ?? [];
  if (!(major < newest + branchStep)) return null;
  return branches.findLast(([branch]) => branch <= major)?.[1] ?? null;
}
