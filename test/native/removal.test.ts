// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { run } from '../support/run.ts';
import { ordinaryUser } from '../support/session.ts';
import { compileNative } from './compile.ts';
import { asRoot, needing, scratch } from './image-rig.ts';

const extractImage = (): string => compileNative('extract-image');

beforeAll(() => void extractImage());

/** A tree to remove, beside a directory that has to stay. */
function makeVictim(): { gone: string; kept: string; mountpoint: string } {
  const dir = scratch('removal');
  const [gone, kept] = [path.join(dir, 'gone'), path.join(dir, 'kept')];
  const mountpoint = path.join(gone, 'a/mount');
  for (const each of [mountpoint, kept]) mkdirSync(each, { recursive: true });
  writeFileSync(path.join(kept, 'file'), 'kept');
  writeFileSync(path.join(gone, 'a/file'), 'gone');
  symlinkSync(kept, path.join(gone, 'link'));
  return { gone, kept, mountpoint };
}

describe('the removal of a tree', () => {
  needing('stops at a mount point, removes the rest, and follows no link', async () => {
    const { gone, kept, mountpoint } = makeVictim();
    const script = `mount --bind ${kept} ${mountpoint}; exec "$@"`;
    const ran = await run(['unshare', '-m', 'sh', '-ec', script, 'sh', extractImage(), '-r', gone], asRoot);
    expect(ran).toMatchObject({ status: 5, stderr: 'bundler: remove mount point mount: Invalid cross-device link\n' });
    expect(readFileSync(path.join(kept, 'file'), 'utf8')).toBe('kept');
    expect([existsSync(path.join(gone, 'a/file')), existsSync(mountpoint)]).toEqual([false, true]);
    expect(await run([extractImage(), '-r', gone], asRoot)).toMatchObject({ status: 0, stderr: '' });
    expect([existsSync(gone), existsSync(path.join(kept, 'file'))]).toEqual([false, true]);
  });

  testNeeding('root', 'strace')('stops at another file system where the kernel has no openat2', async () => {
    const { gone, mountpoint } = makeVictim();
    const strace = 'strace -f -o /dev/null -e trace=openat2 -e inject=openat2:error=ENOSYS';
    const script = `mount -t tmpfs none ${mountpoint}; echo kept > ${mountpoint}/file; ${strace} "$@" || cat ${mountpoint}/file`;
    // strace takes the place that the leak checker wants.
    const options = { ...asRoot, env: { ASAN_OPTIONS: 'detect_leaks=0' } };
    const ran = await run(['unshare', '-m', 'sh', '-ec', script, 'sh', extractImage(), '-r', gone], options);
    expect(ran).toMatchObject({ status: 0, stdout: 'kept\n' });
    expect(ran.stderr).toBe('bundler: remove mount point mount: Invalid cross-device link\n');
  });

  needing('opens directories that an ordinary user has closed to itself', async () => {
    const gone = path.join(scratch('closed', ordinaryUser()), 'gone');
    const script =
      'mkdir -p "$1/a/b/c" "$1/d"; touch "$1/a/b/f" "$1/d/f"; chmod 0 "$1/a/b/c" "$1/a/b" "$1/d"; chmod 555 "$1/a" "$1"';
    expect(await run(['sh', '-ec', script, 'sh', gone])).toMatchObject({ status: 0 });
    expect(await run([extractImage(), '-r', gone])).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(gone)).toBe(false);
  });

  needing('goes deeper than there are descriptors, and than paths can be', async () => {
    const top = scratch('abyss', ordinaryUser());
    const script = `import os, sys
os.chdir(sys.argv[1])
os.mkdir('top')
os.chdir('top')
for i in range(3000):
    os.mkdir('d')
    os.chdir('d')
    open('f', 'w').close()`;
    expect(await run(['python3', '-c', script, top])).toMatchObject({ status: 0, stderr: '' });
    const ran = await run(['prlimit', '--nofile=300:300', extractImage(), '-r', `${top}/top`]);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(`${top}/top`)).toBe(false);
  });

  needing('reports what it could not remove, and removes the rest', async () => {
    const { gone } = makeVictim();
    chmodSync(gone, 0o777);
    writeFileSync(path.join(gone, 'other'), '');
    // All may write here, but what is below a/ is root's.
    chmodSync(path.join(gone, 'a'), 0o755);
    const ran = await run([extractImage(), '-r', gone]);
    expect(ran.status).toBe(5);
    expect(ran.stderr).toMatch(/^bundler: remove .*: Permission denied\n$/);
    expect([existsSync(path.join(gone, 'other')), existsSync(path.join(gone, 'a/file'))]).toEqual([false, true]);
  });
});
