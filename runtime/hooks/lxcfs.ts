// SPDX-License-Identifier: Apache-2.0
import type { BuiltInHook } from './hook.ts';

const files = [
  ...['cpuinfo', 'diskstats', 'meminfo', 'stat', 'swaps'].map((name) => `/proc/${name}`),
  '/sys/devices/system/cpu/online',
];
const options = ['x-create=file', 'bind', 'ro', 'nosuid', 'nodev', 'noexec', 'private', 'nofail', 'silent'];

/** Where lxcfs runs: /proc tells the memory and the processors that the control group allows. An extra of enroot, so off unless asked for. */
export const lxcfs: BuiltInHook = {
  name: '30-lxcfs',
  byDefault: false,
  text: 'where lxcfs runs, /proc tells the memory and the CPUs that the control group allows',
  add: () => ({
    mounts: files.map((path) => ({ source: `/var/lib/lxcfs${path}`, target: path, type: '', options, pass: 0 })),
  }),
};
