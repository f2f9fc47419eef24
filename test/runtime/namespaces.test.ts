// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { findCovered } from '../../runtime/host.ts';
import { readSignal } from '../../runtime/namespaces.ts';
import { unshareFlags } from '../../src/format/plan.ts';
import { type Change, makeInput, pick, planOf } from './launch-fixture.ts';

const flagsOf = (change: Change) => pick(planOf(change), 'unshare').map(({ flags }) => flags);

describe('the namespaces of a container', () => {
  test('are a user and a mount namespace, unless more is asked for', () => {
    expect(flagsOf({})).toEqual([unshareFlags.mount]);
    expect(pick(planOf(), 'supervise')).toEqual([]);
  });

  test.each([
    ['--net', 'ENROOT_UNSHARE_NET', unshareFlags.net],
    ['--ipc', 'ENROOT_UNSHARE_IPC', unshareFlags.ipc],
    ['--uts', 'ENROOT_UNSHARE_UTS', unshareFlags.uts],
  ])('%s and %s add one', (option, variable, flag) => {
    expect(flagsOf({ args: [option] })).toEqual([unshareFlags.mount | flag]);
    expect(flagsOf({ env: { [variable]: 'y' } })).toEqual([unshareFlags.mount | flag]);
    expect(flagsOf({ env: { [variable]: 'no' } })).toEqual([unshareFlags.mount]);
  });

  test('--pid and ENROOT_UNSHARE_PID let a child do the rest, under a supervisor', () => {
    for (const change of [{ args: ['--pid'] }, { env: { ENROOT_UNSHARE_PID: 'y' } }]) {
      const names = planOf(change).map(({ op }) => op);
      const at = names.indexOf('userns');
      expect(names.slice(at, at + 4)).toEqual(['userns', 'unshare', 'supervise', 'unshare']);
      expect(flagsOf(change)).toEqual([unshareFlags.pid, unshareFlags.mount]);
      expect(pick(planOf(change), 'supervise')).toEqual([{ op: 'supervise', termSignal: 0, flags: 0 }]);
      expect(names).not.toContain('init');
    }
  });

  test('--init does too, and leaves an init behind when everything else is done', () => {
    const plan = planOf({ args: ['--init'] });
    expect(flagsOf({ args: ['--init'] })).toEqual([unshareFlags.pid, unshareFlags.mount]);
    expect(pick(plan, 'supervise')).toMatchObject([{ flags: 1 }]);
    expect(plan.map(({ op }) => op).slice(-3)).toEqual(['init', 'env', 'exec']);
  });

  test('all of them together', () => {
    const { mount, net, ipc, uts, pid } = unshareFlags;
    const all = ['--pid', '--net', '--ipc', '--uts'];
    expect(flagsOf({ args: all })).toEqual([pid, mount | net | ipc | uts]);
  });

  test('a process namespace has a /proc of its own, a network namespace a /sys', () => {
    const mountsOf = (change: Change) => pick(planOf(change), 'mount').map(({ type, target }) => `${type} ${target}`);
    expect(mountsOf({ args: ['--pid'] })).toContain('proc /proc');
    expect(mountsOf({ args: ['--pid'] })).not.toContain('sysfs /sys');
    expect(mountsOf({ args: ['--net'] })).toContain('sysfs /sys');
    expect(mountsOf({})).not.toContain('proc /proc');
  });

  test('where the host covers parts of its own, it keeps that in sight and says so', () => {
    const host = { covered: ['/proc/kcore', '/sys/firmware'] };
    const plan = planOf({ args: ['--pid', '--net'], host });
    expect(pick(plan, 'mount').filter(({ type }) => type === 'proc' || type === 'sysfs')).toEqual([]);
    expect(pick(plan, 'mount').filter(({ target }) => target === '/proc')).toHaveLength(1);
    expect(pick(plan, 'warn').map(({ text }) => text)).toEqual([
      "bundler: this host covers /proc/kcore, so /proc keeps showing the host's view\n",
      "bundler: this host covers /sys/firmware, so /sys keeps showing the host's view\n",
    ]);
  });

  test('what is made to be mounted on covers nothing', () => {
    const line = (point: string) => `1 2 0:3 / ${point} rw - tmpfs tmpfs rw`;
    const points = [
      '/',
      '/proc',
      '/proc/sys/fs/binfmt_misc',
      '/sys',
      '/sys/fs/cgroup',
      '/sys/fs/cgroup/memory',
      '/sys/kernel/debug',
      '/sys/kernel/debug/tracing',
      '/sys/firmware/efi/efivars',
      '/proc/acpi',
      '/proc/sys',
      '/sys/firmware',
    ];
    expect(findCovered(points.map(line).join('\n'))).toEqual(['/proc/acpi', '/proc/sys', '/sys/firmware']);
  });
});

describe("the image's StopSignal", () => {
  test('is what SIGTERM becomes where there is a supervisor', () => {
    const config = { entrypoint: [], cmd: [], env: [], workdir: '', user: '', stopSignal: 'SIGQUIT' };
    expect(pick(planOf({ args: ['--init'], manifest: { config } }), 'supervise')).toMatchObject([{ termSignal: 3 }]);
    expect(makeInput({ manifest: { config } }).manifest.config?.stopSignal).toBe('SIGQUIT');
  });

  test.each([
    ['SIGINT', 2],
    ['quit', 3],
    ['9', 9],
    ['SIGWINCH', 28],
    ['SIGSYS', 31],
    ['SIGRTMIN+3', 37],
    ['RTMIN', 34],
    ['SIGTERM', 0],
    ['15', 0],
    ['', 0],
    ['SIGNOTHING', 0],
    ['65', 0],
  ])('%s is %d', (text, number) => {
    expect(readSignal(text)).toBe(number);
  });
});
