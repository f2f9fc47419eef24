// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the planner, not JavaScript, expands these
import { describe, expect, test } from 'vitest';
import { combine, type FoundFile, filesOf, merge, noConfiguration } from '../../runtime/configuration.ts';
import type { Resumed } from '../../runtime/launch-input.ts';
import { type Change, names, pick, planOf, shownFile } from './launch-fixture.ts';

const found = (path: string, more: Partial<FoundFile> = {}): FoundFile => ({
  from: 'system',
  path,
  mode: path.endsWith('.sh') ? 0o755 : 0o644,
  content: '',
  hostPath: '',
  builtin: '',
  ...more,
});
const configured = (...files: FoundFile[]): Change => ({ configuration: combine({}, files) });
const hook = found('hooks.d/50-x.sh', { content: '#!/bin/sh\n' });
const resumed = (more: Partial<Resumed> = {}): Resumed => ({ environ: '', mounts: '', conf: null, ...more });
const staged = (change: Change, path: string) => pick(planOf(change), 'stage').find((op) => op.path === path)?.content;

describe('configuration', () => {
  test('of the system comes before the user’s, each by name; a later file of the same place holds', () => {
    const { files } = combine({}, [
      found('environ.d/2.env', { from: 'user' }),
      found('environ.d/2.env', { content: 'old' }),
      found('environ.d/1.env'),
      found('environ.d/2.env', { content: 'new' }),
    ]);
    expect(files.map(({ from, path, content }) => `${from} ${path} ${content}`)).toEqual([
      'system environ.d/1.env ',
      'system environ.d/2.env new',
      'user environ.d/2.env ',
    ]);
  });

  test('as enroot ships it turns built-ins on, a changed file of the system turns them off', () => {
    const { builtins, files } = combine({}, [
      found('hooks.d/50-slurm-pmi.sh', { builtin: '50-slurm-pmi' }),
      found('hooks.d/10-home.sh'),
      found('hooks.d/10-shadow.sh', { from: 'user' }),
    ]);
    expect(builtins).toEqual({ '50-slurm-pmi': 'on', '10-home': 'off' });
    expect(files.map(({ path }) => path)).toEqual(['hooks.d/10-home.sh', 'hooks.d/10-shadow.sh']);
  });

  test('of the host takes the place of embedded files and settings', () => {
    const embedded = combine({ A: '1', B: '1' }, [
      found('environ.d/x.env', { content: 'embedded' }),
      found('hooks.d/10-home.sh', { builtin: '10-home' }),
    ]);
    const both = merge(embedded, {
      settings: { B: '2' },
      files: [found('environ.d/x.env', { content: 'host', hostPath: '/x' })],
    });
    expect(both.settings).toEqual({ A: '1', B: '2' });
    expect(both.files).toMatchObject([{ content: 'host', hostPath: '/x' }]);
    expect(both.builtins).toEqual({ '10-home': 'on' });
  });

  test('counts by directory, ending and x bit', () => {
    const all = combine({}, [
      hook,
      found('hooks.d/50-x.txt', { mode: 0o755 }),
      found('hooks.d/60-y.sh', { mode: 0o644 }),
      found('hooks.d/lib/z.sh'),
      found('hooks.d/.hidden.sh'),
      found('environ.d/x.env'),
      found('environ.d/x.fstab'),
      found('mounts.d/a b.fstab'),
    ]);
    expect(filesOf(all, 'hooks.d').map(({ path }) => path)).toEqual(['hooks.d/50-x.sh']);
    expect(filesOf(all, 'environ.d').map(({ path }) => path)).toEqual(['environ.d/x.env']);
    expect(filesOf(all, 'mounts.d').map(({ path }) => path)).toEqual(['mounts.d/a b.fstab']);
    expect(filesOf(noConfiguration, 'hooks.d')).toEqual([]);
  });
});

describe('a launch with hooks of the host', () => {
  test('puts an overlay over a served root, runs the hooks after the early mounts, and asks for the rest', () => {
    const plan = planOf(configured(hook));
    expect(names(plan).join(' ')).toMatch(/^entry (share )?serve userns unshare root overlay mount stage hook resume$/);
    expect(pick(plan, 'mount').map(({ target }) => target)).not.toContain('/etc/hosts');
    expect(pick(plan, 'hook')).toMatchObject([
      { name: '50-x.sh', argv: ['run/etc/system/hooks.d/50-x.sh'], search: '' },
    ]);
    expect(pick(plan, 'resume')).toEqual([{ op: 'resume', files: ['run/environment', 'run/fstab'] }]);
  });

  test('has its second part from the late mounts on, and the root is read-only again', () => {
    const change = { ...configured(hook), resumed: resumed({ mounts: 'tmpfs /h tmpfs x-create=dir\n' }) };
    const plan = planOf(change);
    expect(names(plan).slice(0, 3)).toEqual(['mount', 'readonly', 'pivot']);
    expect(pick(plan, 'mount')[0]).toMatchObject({ target: '/h', type: 'tmpfs' });
    expect(plan.at(-1)).toMatchObject({ op: 'exec' });
    expect(names(planOf({ ...change, args: ['--rw'] }))).not.toContain('readonly');
  });

  test('without any is one part, as ever', () => {
    expect(names(planOf())).not.toContain('overlay');
    expect(names(planOf(configured(found('environ.d/x.env'))))).not.toContain('hook');
  });

  test('runs files of the host where they lie', () => {
    const [op] = pick(planOf(configured({ ...hook, hostPath: '/etc/enroot/hooks.d/50-x.sh' })), 'hook');
    expect(op?.argv).toEqual(['/etc/enroot/hooks.d/50-x.sh']);
    expect(pick(planOf(configured({ ...hook, hostPath: '/x' })), 'stage').map(({ path }) => path)).not.toContain('/x');
  });

  test('gives hooks the caller’s environment and the settings that are on', () => {
    const [op] = pick(
      planOf({
        ...configured(hook),
        env: { ENROOT_MOUNT_HOME: 'no', ENROOT_SITE: 'caller', BUNDLER_DRIVER: '' },
        sources: { configured: { ENROOT_SITE: 'configured', ENROOT_OTHER: 'configured' } },
        args: ['--root', '--env', 'ENROOT_GIVEN=1', '--env', 'PLAIN=secret'],
      }),
      'hook',
    );
    expect(op?.env).toEqual(
      expect.arrayContaining([
        'SECRET=hunter2',
        'ENROOT_SITE=caller',
        'ENROOT_OTHER=configured',
        'ENROOT_GIVEN=1',
        'ENROOT_REMAP_ROOT=y',
        'ENROOT_PID=77',
      ]),
    );
    expect(op?.env.filter((item) => /^(ENROOT_MOUNT_HOME|BUNDLER_|PLAIN)/.test(item))).toEqual([]);
    expect(op?.paths).toEqual(expect.arrayContaining(['ENROOT_ROOTFS=root', 'ENROOT_ENVIRON=run/environment']));
  });

  test('never puts a value of --env or --env-file into an argument of a hook', () => {
    const change = {
      ...configured(hook),
      args: ['--conf', 'c.sh', '--env', 'A=secret1', '--env', 'SECRET', '--env-file', 'f', 'true'],
      host: { shell: '/bin/bash', files: { 'c.sh': '', f: 'B=secret2\n' } },
    };
    for (const op of pick(planOf(change), 'hook')) expect(op.argv.join(' ')).not.toMatch(/secret|hunter2/);
    expect(staged(change, 'run/conf.asked')).toBe('B=secret2\nA=secret1\nSECRET=hunter2\n');
  });
});

describe('ENROOT_ENVIRON', () => {
  const given = { ...configured(hook, found('environ.d/x.env', { content: 'A=${SECRET}\nB="two words"\n' })) };

  test('holds the container’s environment, a line each', () => {
    const text = staged({ ...given, args: ['--env', 'Q="kept"', '--env', 'LINES=a\nb'] }, 'run/environment');
    expect(text).toContain('A=hunter2\nB=two words\n');
    expect(text).toContain('Q="kept"\n');
    expect(text).not.toContain('LINES');
  });

  test.each<[string, Partial<Resumed>, string[], string[]]>([
    ['what was appended counts', { environ: 'A=1\nA=2\n' }, ['A=2'], ['A=1']],
    ['quotes of new lines go', { environ: 'A="x y" \n' }, ['A=x y'], []],
    ['a line of ours is kept as given', { environ: 'Q="kept"\n' }, ['Q="kept"'], []],
    ['what is removed is gone', { environ: '' }, [], ['Q="kept"']],
    ['a value of several lines was never in it', { environ: '' }, ['LINES=a\nb'], []],
    ['ENROOT_ and what is no variable stay out', { environ: 'ENROOT_X=1\n1A=2\nfoo\n' }, [], ['ENROOT_X=1', '1A=2']],
    ['references of hooks are not filled in', { environ: 'A=${SECRET}\n' }, ['A=${SECRET}'], []],
  ])('%s', (_title, back, has, lacks) => {
    const args = ['--env', 'Q="kept"', '--env', 'LINES=a\nb'];
    const [env] = pick(planOf({ ...given, args, resumed: resumed(back) }), 'env');
    expect(env?.vars).toEqual(expect.arrayContaining(has));
    for (const item of lacks) expect(env?.vars).not.toContain(item);
  });

  test('gets what the --conf script exported into lines that refer to it', () => {
    const change = { ...given, args: ['--conf', 'c'], host: { shell: '/bin/sh', files: { c: '' } } };
    const text = staged(change, 'run/environment') ?? '';
    const conf = { mounts: '', rc: null, env: { SECRET: 'exported' } };
    const [env] = pick(planOf({ ...change, resumed: resumed({ environ: text, conf }) }), 'env');
    expect(env?.vars).toContain('A=exported');
  });
});

describe('a --conf script', () => {
  const conf = (more: Partial<NonNullable<Resumed['conf']>> = {}): Change => ({
    args: ['--conf', 'c.sh', 'a'],
    host: { shell: '/bin/bash', files: { 'c.sh': '' } },
    resumed: resumed({ conf: { mounts: '', rc: null, env: {}, ...more } }),
  });

  test('is sourced from where it lies, by a driver that runs the hooks too', () => {
    const { resumed: _later, ...change } = { ...conf(), ...configured(hook) };
    const plan = planOf(change);
    const driver = staged(change, 'run/conf') ?? '';
    expect(driver.startsWith('#!/bin/bash\n')).toBe(true);
    expect(driver).toContain('\n. /work/c.sh\n');
    expect(driver).toContain('_bundler_hook 50-x.sh "$_bundler_stage/"run/etc/system/hooks.d/50-x.sh\n');
    expect(pick(plan, 'hook')).toMatchObject([{ name: 'c.sh', argv: ['run/conf', 'a'] }]);
  });

  test('asks for a shell', () => {
    const { resumed: _later, ...change } = conf();
    expect(() => planOf({ ...change, host: { ...change.host, shell: '' } })).toThrow(
      '--conf takes a shell on the host',
    );
  });

  test('may mount before --mount, and run another script', () => {
    const plan = planOf(conf({ mounts: 'tmpfs /m tmpfs x-create=dir\n', rc: 'exec "$@"\n' }));
    expect(pick(plan, 'mount').at(-1)).toMatchObject({ target: '/m', type: 'tmpfs' });
    expect(shownFile(plan, '/etc/rc')).toBe('exec "$@"\n');
    expect(plan.at(-1)).toMatchObject({ argv: ['/bin/sh', '/etc/rc', 'a'] });
  });

  test('gives way to --rc and to --entrypoint', () => {
    const rc = { ...conf({ rc: 'no\n' }), args: ['--conf', 'c.sh', '--rc', 'r', 'a'] };
    const plan = planOf({ ...rc, host: { shell: '/bin/sh', files: { 'c.sh': '', r: 'yes\n' } } });
    expect(shownFile(plan, '/etc/rc')).toBe('yes\n');
    const entry = planOf({ ...conf({ rc: 'no\n' }), args: ['--conf', 'c.sh', '--entrypoint', '/bin/x'] });
    expect(entry.at(-1)).toMatchObject({ argv: ['/bin/x'] });
  });
});

describe('${ENROOT_ROOTFS} in a mount', () => {
  const site = (content: string) => configured(found('mounts.d/x.fstab', { content }));

  test('is the container’s root', () => {
    const mounts = pick(planOf(site('${ENROOT_ROOTFS}/usr/lib /mnt/lib none x-create=dir,bind\n')), 'mount');
    expect(mounts.find(({ target }) => target === '/mnt/lib')).toMatchObject({ source: '/usr/lib', options: 1 | 128 });
    const target = pick(planOf(site('tmpfs ${ENROOT_ROOTFS}/t tmpfs x-create=dir\n')), 'mount');
    expect(target.map((op) => op.target)).toContain('/t');
  });

  test('cannot stand in options', () => {
    expect(() => planOf(site('o /o overlay lowerdir=${ENROOT_ROOTFS}/x\n'))).toThrow('may only begin the source');
  });
});
