// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { builtInHooks, chooseHooks } from '../../../runtime/hooks/index.ts';
import { names, pick, planOf, shownFile } from '../launch-fixture.ts';

const all = builtInHooks.map(({ name }) => name);
const usual = all.filter((name) => name !== '30-lxcfs' && name !== '50-mig-config');

describe('the built-in hooks', () => {
  test("are in the order in which enroot's files of these names run", () => {
    const [mounts, ...hooks] = [
      ...all.filter((name) => name.startsWith('30')),
      ...all.filter((name) => !name.startsWith('30')),
    ];
    expect(mounts).toBe('30-lxcfs');
    expect(hooks).toEqual([...hooks].sort());
  });

  test.each<[string, Record<string, 'on' | 'off'>, readonly string[]]>([
    ['', {}, usual],
    ['lxcfs, mig-config', {}, all],
    ['30-lxcfs, +10-home', {}, all.filter((name) => name !== '50-mig-config')],
    ['-slurm-pmi -10-shadow', {}, usual.filter((name) => name !== '50-slurm-pmi' && name !== '10-shadow')],
    ['none shadow', {}, ['10-shadow']],
    [
      '',
      { '10-shadow': 'off', '30-lxcfs': 'on' },
      all.filter((name) => name !== '10-shadow' && name !== '50-mig-config'),
    ],
    ['shadow', { '10-shadow': 'off' }, usual],
  ])('BUNDLER_HOOKS=%j with the files %j', (text, found, names) => {
    expect(chooseHooks(text, found)).toEqual(names);
  });

  test('are named in the refusal of an unknown one', () => {
    expect(() => chooseHooks('shadow,lxc', {})).toThrow(/no built-in hook lxc/);
  });

  test('all off leave the files of the image and the groups of the host alone', () => {
    const env = { BUNDLER_HOOKS: 'none', SLURM_JOB_ID: '1', SLURM_STEP_ID: '0' };
    const plan = planOf({ env, host: { cgroup: '0::/a\n' } });
    expect(shownFile(plan, '/etc/passwd')).toBeUndefined();
    expect(pick(plan, 'unshare')).toEqual([{ op: 'unshare', flags: 1 }]);
    expect(names(plan)).not.toContain('symlink');
    expect(JSON.stringify(pick(plan, 'env'))).not.toContain('SLURM');
  });

  test('with nothing to do add nothing to a plain launch but the accounts', () => {
    const plain = planOf();
    const without = planOf({ env: { BUNDLER_HOOKS: 'none,shadow' } });
    expect(plain).toEqual(without);
  });
});
