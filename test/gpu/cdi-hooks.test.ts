// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { planCdi } from '../../runtime/gpu/cdi-plan.ts';
import { noEdits } from '../../runtime/gpu/edits.ts';
import { makeLibrary, planVendor, readVendor } from './cdi-fixture.ts';

describe('hooks of nvidia-container-toolkit', () => {
  const planHook = (path: string, ...args: string[]) =>
    planVendor({ hooks: [{ hookName: 'createContainer', path, args }] });

  test.each<[string, string[]]>([
    ['/usr/bin/nvidia-cdi-hook', ['nvidia-cdi-hook', 'create-symlinks', '--link', 'a::/b', '--link=c::d/e']],
    ['/opt/x/nvidia-ctk', ['nvidia-ctk', 'hook', 'create-symlinks', '--link', 'a::/b,c::/d/e']],
  ])('are known as %s %s', (path, args) => {
    expect(planHook(path, ...args)).toMatchObject({
      links: [
        { path: '/b', target: 'a' },
        { path: '/d/e', target: 'c' },
      ],
      warnings: [],
    });
  });

  test.each(['a', 'a::', '::b', 'a::b::c'])('warn of the link %s, which is none', (link) => {
    const plan = planHook('/usr/bin/nvidia-cdi-hook', 'nvidia-cdi-hook', 'create-symlinks', '--link', link);
    expect(plan.links).toEqual([]);
    expect(plan.warnings).toEqual([
      `CDI: hooks are not run; without: /usr/bin/nvidia-cdi-hook create-symlinks --link ${link}`,
    ]);
  });

  test('that need nothing done are passed over', () => {
    const chmod = planHook('/usr/bin/nvidia-ctk', 'nvidia-ctk', 'hook', 'chmod', '--mode', '755', '--path', '/dev/dri');
    expect(chmod).toEqual(noEdits);
    expect(planHook('/usr/bin/nvidia-cdi-hook', 'nvidia-cdi-hook', 'update-application-profile')).toEqual(noEdits);
  });

  test('name libraries in the folders that are given and in those where every loader looks, and no others', () => {
    const dirs = ['/opt/x/lib', '/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/opt/other'];
    const mounts = dirs.map((dir, index) => ({
      hostPath: `/srv/liba.so.${index}`,
      containerPath: `${dir}/liba.so.1.${index}`,
    }));
    const libraries = mounts.map(({ hostPath }, index): [string, Uint8Array] => [
      hostPath,
      makeLibrary(`liba.so.${index}`),
    ]);
    const args = ['nvidia-cdi-hook', 'update-ldcache', '--folder', '/opt/x/lib'];
    const hooks = [{ hookName: 'createContainer', path: '/usr/bin/nvidia-cdi-hook', args }];
    const devices = [
      { name: 'a', containerEdits: { mounts, hooks } },
      { name: 'b', containerEdits: { mounts } },
    ];
    const facts = readVendor({}, { devices }, Object.fromEntries(libraries));
    const plan = planCdi(['vendor.com/class=a'], facts, []);
    expect(plan.libraryDirs).toEqual(['/opt/x/lib']);
    expect(plan.named.map(({ path }) => path)).toEqual([
      '/opt/x/lib/liba.so.0',
      '/usr/lib/x86_64-linux-gnu/liba.so.1',
      '/usr/lib64/liba.so.2',
    ]);
    expect(plan.links[0]).toEqual({ path: '/opt/x/lib/liba.so.0', target: 'liba.so.1.0' });
    expect(planCdi(['vendor.com/class=b'], facts, [])).toMatchObject({ named: [], links: [], libraryDirs: [] });
  });

  test('make no link where a file is mounted', () => {
    const mounts = [{ hostPath: '/srv/a', containerPath: '/usr/lib64/libcuda.so.1' }];
    const args = ['nvidia-cdi-hook', 'create-symlinks', '--link', 'b::/usr/lib64/libcuda.so.1'];
    const hooks = [{ hookName: 'createContainer', path: '/usr/bin/nvidia-cdi-hook', args }];
    expect(planVendor({ mounts, hooks }, {}, { '/srv/a': '' }).links).toEqual([]);
  });
});
