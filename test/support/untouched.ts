// SPDX-License-Identifier: Apache-2.0

/** Facts of peek.c that a command must find as a plainly started one does, whoever starts it. */
export const untouched = [
  'children',
  'limits',
  'blocked',
  'ignored',
  'caught',
  'pending',
  'cpus',
  'ppid',
  'umask',
  'nice',
  'scheduler',
  'timer',
  'parentDeathSignal',
  'dumpable',
  'subreaper',
  'timerSlack',
  'uid',
  'gid',
  'hasTerminal',
  'isatty',
  'comm',
] as const;
