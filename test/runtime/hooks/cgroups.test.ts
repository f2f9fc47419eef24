// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { planCgroups } from '../../../runtime/hooks/cgroups.ts';
import { readCgroups } from '../../../runtime/host.ts';
import { Observer } from '../../../runtime/observer.ts';
import { makeInput, pick, planOf } from '../launch-fixture.ts';

const unified = '30 20 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
const legacy = [
  '31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755',
  '34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset',
  '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
  '35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory',
  '40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd',
].join('\n');

const shown = (own: string, mounts: string, inStep = false) =>
  planCgroups(own, mounts, inStep)
    .filter(({ source }) => source !== 'none')
    .map(({ source, target }) => `${source} on ${target}`);

describe('the control group', () => {
  test.each<[string, string, string, boolean, string[]]>([
    [
      'is the root of the unified hierarchy',
      '0::/user.slice/s1.scope\n',
      unified,
      false,
      ['/sys/fs/cgroup/user.slice/s1.scope on /sys/fs/cgroup'],
    ],
    ['may be the root itself', '0::/\n', unified, false, ['/sys/fs/cgroup on /sys/fs/cgroup']],
    [
      'is the root of each controller, by its exact name',
      '9:name=systemd:/s\n4:memory:/m/x\n3:cpu,cpuacct:/c\n2:cpuset:/\n0::/\n',
      legacy,
      false,
      [
        '/sys/fs/cgroup/systemd/s on /sys/fs/cgroup/systemd',
        '/sys/fs/cgroup/memory/m/x on /sys/fs/cgroup/memory',
        '/sys/fs/cgroup/cpu,cpuacct/c on /sys/fs/cgroup/cpu,cpuacct',
        '/sys/fs/cgroup/cpuset on /sys/fs/cgroup/cpuset',
      ],
    ],
    [
      "is the step's in a step of Slurm",
      '0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n',
      unified,
      true,
      ['/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/user on /sys/fs/cgroup'],
    ],
    [
      'never leads above the mount, not even there',
      '4:memory:/\n',
      legacy,
      true,
      ['/sys/fs/cgroup/memory on /sys/fs/cgroup/memory'],
    ],
    [
      'is found where a mount shows only a part',
      '0::/a/b/c\n',
      unified.replace(' / ', ' /a/b '),
      false,
      ['/sys/fs/cgroup/c on /sys/fs/cgroup'],
    ],
    ['is left alone where the mount shows another part', '0::/ab\n', unified.replace(' / ', ' /a '), false, []],
    ['is left alone where a namespace hides it', '0::/../../x\n', unified, false, []],
    ['is left alone where nothing is mounted', '0::/a\n', '', false, []],
    [
      'may have blanks in its path',
      '0::/a b\n',
      unified.replace('/sys/fs/cgroup', '/sys/fs/c\\040g'),
      false,
      ['/sys/fs/c g/a b on /sys/fs/c g'],
    ],
  ])('%s', (_title, own, mounts, inStep, expected) => {
    expect(shown(own, mounts, inStep)).toEqual(expected);
  });

  test('is shown read-only, in a namespace of its own, after the mounts of the system', () => {
    const plan = planOf({ host: { cgroup: '0::/a\n', cgroupMounts: unified } });
    expect(pick(plan, 'unshare')).toEqual([{ op: 'unshare', flags: 1 | 32 }]);
    const targets = pick(plan, 'mount').map(({ target }) => target);
    expect(targets.filter((target) => target === '/sys/fs/cgroup')).toHaveLength(2);
    expect(targets.indexOf('/sys/fs/cgroup')).toBeGreaterThan(targets.indexOf('/sys'));
    const [own, whole] = pick(plan, 'mount').filter(({ target }) => target === '/sys/fs/cgroup');
    // ro, nosuid, nodev, noexec, rbind; made by mkdir, and no failure
    expect(own).toMatchObject({
      source: '/sys/fs/cgroup/a',
      msFlags: 1 | 2 | 4 | 8 | 4096 | 16384,
      options: 1 | 8 | 16,
    });
    expect(whole).toMatchObject({ source: 'none', msFlags: 1 | 2 | 4 | 8 | 32 | 4096 | 16384, options: 8 | 16 });
    expect(pick(plan, 'entry').some(({ path }) => path.startsWith('/sys/'))).toBe(false);
  });
});

describe('looking for control groups', () => {
  const found = (cgroup: string, there: readonly string[]) => {
    const { request, settings } = makeInput({ request: { cgroup } });
    const observer = new Observer();
    observer.lookAt = (path) => (there.includes(path) ? 'file' : 'missing');
    let reads = 0;
    const { cgroupMounts } = readCgroups(observer, request, settings, () => {
      reads += 1;
      return `1 0 8:1 / / rw - ext4 /dev/sda rw\n${unified}\n${legacy}\n`;
    });
    return { reads, shown: shown(cgroup, cgroupMounts) };
  };

  test('takes one look where there is one hierarchy, at its usual place', () => {
    expect(found('0::/a/b\n', ['/sys/fs/cgroup/a/b/cgroup.procs'])).toEqual({
      reads: 0,
      shown: ['/sys/fs/cgroup/a/b on /sys/fs/cgroup'],
    });
    expect(found('0::/\n', ['/sys/fs/cgroup//cgroup.procs']).reads).toBe(0);
  });

  test('goes through the mounts elsewhere', () => {
    expect(found('0::/a/b\n', [])).toEqual({ reads: 1, shown: ['/sys/fs/cgroup/a/b on /sys/fs/cgroup'] });
    const both = found('4:memory:/m\n0::/\n', ['/sys/fs/cgroup//cgroup.procs']);
    expect(both).toEqual({
      reads: 1,
      shown: ['/sys/fs/cgroup/memory/m on /sys/fs/cgroup/memory', '/sys/fs/cgroup on /sys/fs/cgroup'],
    });
  });
});
