// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeImage } from '../../fixtures/make.ts';
import { bundler, findSection, makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { run, start } from '../support/run.ts';
import { sanitizerEnv } from '../support/sanitize.ts';
import { freshUser, makeDir, ordinaryUser, sessionDir } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';

/** Type, mode, owner, size, time, link target, link count, and then every content and every attribute. */
function describeTree(dir: string, owners: boolean): string {
  const format = `%P %y %#m ${owners ? '%U:%G' : ''} %s %T@ %l %n\\n`;
  // A directory's own size is the file system's affair.
  const list = execFileSync(
    'find',
    [
      dir,
      '-mindepth',
      '1',
      '(',
      '-type',
      'd',
      '-printf',
      format.replace('%s', '-').replace('%n', '-'),
      '-o',
      '-printf',
      format,
      ')',
    ],
    { encoding: 'latin1', maxBuffer: 1 << 28 },
  );
  const sums = execFileSync('sh', ['-c', 'cd "$0" && find . -type f -print0 | sort -z | xargs -0 sha256sum', dir], {
    encoding: 'latin1',
    maxBuffer: 1 << 28,
  });
  const attributes = execFileSync(compileProgram('list-xattrs'), [dir], { encoding: 'latin1', maxBuffer: 1 << 28 });
  return `${list.split('\n').sort().join('\n')}\n${sums}\n${attributes.split('\n').sort().join('\n')}`;
}

function makeParent(): string {
  const dir = path.join(sessionDir(), `root-${process.pid}-${Math.random().toString(36).slice(2)}`);
  mkdirSync(dir);
  return dir;
}

describe('the payload of a bundle', () => {
  e2e('is where --info --json says, and stock unsquashfs lists it there', async () => {
    const file = makeBundle('tree');
    const info = await run([file, '--info', '--json']);
    const { offset } = findSection(file, 'payload');
    expect(JSON.parse(info.stdout)).toMatchObject({ payload: { offset } });
    const shown = /^List its files: (.*)$/m.exec((await run([file, '--info'])).stdout)?.[1] ?? '';
    expect(execFileSync('sh', ['-c', shown], { encoding: 'latin1' })).toContain('squashfs-root/tree/noise');
    const listed = execFileSync('unsquashfs', ['-lln', '-o', String(offset), file], { encoding: 'latin1' });
    expect(listed).toContain('squashfs-root/tree/noise');
    expect(listed).toBe(execFileSync('unsquashfs', ['-lln', makeImage('tree')], { encoding: 'latin1' }));
  });

  e2e(
    'is unpacked by `bundler extract` as unsquashfs -o does: type, mode, owner, size, time, link, xattr, content',
    async () => {
      const file = makeBundle('tree');
      const parent = makeParent();
      const [ours, theirs] = [path.join(parent, 'ours'), path.join(parent, 'theirs')];
      const env = {
        PATH: process.env['PATH'] ?? '',
        HOME: '/nonexistent',
        BUNDLER_CACHE_DIR: path.join(sessionDir(), 'cache-make'),
        ...sanitizerEnv(),
      };
      execFileSync(bundler, ['extract', '-q', '-o', ours, file], { env, stdio: 'pipe' });
      execFileSync(
        'unsquashfs',
        ['-no-progress', '-quiet', '-o', String(findSection(file, 'payload').offset), '-d', theirs, file],
        { stdio: 'pipe' },
      );
      expect(describeTree(ours, true)).toBe(describeTree(theirs, true));
    },
  );

  e2e('is unpacked by an ordinary user the same, but for owners and devices', async () => {
    const out = path.join(makeDir(ordinaryUser(), 'extract'), 'root');
    const ran = await run([bundler, 'extract', '-q', '-o', out, makeBundle('tree')]);
    expect(ran.status, ran.stderr).toBe(0);
    const parent = makeParent();
    const theirs = path.join(parent, 'theirs');
    execFileSync('unsquashfs', ['-no-progress', '-quiet', '-d', theirs, makeImage('tree')], { stdio: 'pipe' });
    execFileSync('sh', ['-c', 'find "$0" "$1" -type b -delete -o -type c -delete; rm -f "$0"/.bundler', out, theirs]);
    // Deleting the devices changed their directory's time on both sides.
    execFileSync('touch', ['-d', '@0', path.join(out, 'tree'), path.join(theirs, 'tree')]);
    const comparable = (text: string): string =>
      text.replaceAll(/^(tree\/setuid f )04755/gm, '$10755').replaceAll(/^(\S* f )06?755/gm, '$10755');
    expect(comparable(describeTree(out, false))).toBe(comparable(describeTree(theirs, false)));
  });

  e2e('of every compressor is unpacked alike', async () => {
    const parent = makeDir(ordinaryUser(), 'compressors');
    const trees: string[] = [];
    for (const image of ['gzip', 'lzo', 'lz4', 'xz', 'lzma', 'zstd', 'stored'] as const) {
      const out = path.join(parent, image);
      const ran = await run([bundler, 'extract', '-q', '-o', out, makeBundle(image)]);
      expect(ran.status, ran.stderr).toBe(0);
      trees.push(describeTree(out, false));
    }
    expect(new Set(trees).size).toBe(1);
  });

  e2e('is not unpacked over a directory that exists', async () => {
    const dir = makeDir(ordinaryUser(), 'extract');
    const ran = await run([bundler, 'extract', '-o', dir, makeBundle('busybox')]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain(dir);
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('a .run with --extract, --keep and --target', () => {
  e2e('--extract unpacks into --target and stops', async () => {
    const dir = makeDir(ordinaryUser(), 'cwd');
    const ran = await run([makeBundle('busybox'), '--extract', '--target', path.join(dir, 'kept')], { cwd: dir });
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).not.toContain('hello');
    expect(readFileSync(path.join(dir, 'kept/bin/busybox')).equals(readFileSync('/bin/busybox'))).toBe(true);
    expect(readdirSync(dir)).toEqual(['kept']);
  });

  e2e('--keep runs from it, leaves it, and the next run uses it again with what was changed there', async () => {
    const dir = makeDir(ordinaryUser(), 'cwd');
    const args = ['--keep', '--rw', '--target', path.join(dir, 'kept')];
    const first = await run([makeBundle('busybox'), ...args, 'sh', '-c', 'echo mine > /etc/mine; echo first'], {
      cwd: dir,
    });
    expect(first, first.stderr).toMatchObject({ status: 0, stdout: 'first\n' });
    const second = await run([makeBundle('busybox'), ...args, 'cat', '/etc/mine'], { cwd: dir });
    expect(second, second.stderr).toMatchObject({ status: 0, stdout: 'mine\n' });
    // As enroot does it: who runs the container is in its accounts.
    expect(readFileSync(path.join(dir, 'kept/etc/passwd'), 'utf8')).toMatch(/:4242:4242:/);
  });

  e2e('--keep without --rw leaves no file of ours in it', async () => {
    const dir = makeDir(ordinaryUser(), 'cwd');
    const ran = await run([makeBundle('busybox'), '--keep', '--target', 'kept', 'id', '-un'], { cwd: dir });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'u4242\n' });
    expect(readFileSync(path.join(dir, 'kept/etc/passwd'), 'utf8')).not.toMatch(/4242/);
  });

  e2e('--keep --rw lets accounts be added, which a later run still has, with or without --rw', async () => {
    const user = freshUser();
    const dir = makeDir(user, 'target');
    const keep = (...args: string[]) =>
      run([makeBundle('busybox'), '--keep', '--target', 'kept', ...args], { user, cwd: dir });
    // As useradd does it: a new file beside the old one, renamed over it.
    const add = 'cd /etc && for f in passwd group; do { cat $f; echo "$1:x:$2:"; } > $f+ && mv $f+ $f; done';
    const added = await keep(
      '--root',
      '--rw',
      'sh',
      '-ec',
      `${add}; grep -c new1 /etc/passwd /etc/group`,
      'sh',
      'new1',
      '777',
    );
    expect(added, added.stderr).toMatchObject({ status: 0, stdout: '/etc/passwd:1\n/etc/group:1\n' });
    const again = await keep(
      '--rw',
      'sh',
      '-ec',
      `${add}; id -un; cut -d: -f1 /etc/passwd | sort | uniq -d`,
      'sh',
      'new2',
      '778',
    );
    expect(again, again.stderr).toMatchObject({ status: 0, stdout: `u${user.uid}\n` });
    const plain = await keep('sh', '-ec', 'grep -o "^new[12]" /etc/passwd /etc/group; ! touch /etc/x 2>/dev/null');
    expect(plain.stdout, plain.stderr).toBe('/etc/passwd:new1\n/etc/passwd:new2\n/etc/group:new1\n/etc/group:new2\n');
    expect(readFileSync(path.join(dir, 'kept/etc/passwd'), 'utf8')).toMatch(/^new1:x:777:\nnew2:x:778:$/m);
    await untilAllEnded(user);
  });

  e2e('--keep without --target unpacks beside: into $PWD/NAME', async () => {
    const dir = makeDir(ordinaryUser(), 'cwd');
    const ran = await run([makeBundle('busybox', '--name', 'nice'), '--keep', 'true'], { cwd: dir });
    expect(ran.status, ran.stderr).toBe(0);
    expect(readdirSync(dir)).toEqual(['nice']);
  });

  e2e('--target without --keep is gone when the command ends', async () => {
    const user = freshUser();
    const dir = makeDir(user, 'cwd');
    const ran = await run([makeBundle('busybox'), '--target', path.join(dir, 'temporary'), 'echo', 'x'], {
      cwd: dir,
      user,
    });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'x\n' });
    await untilAllEnded(user);
    expect(readdirSync(dir)).toEqual([]);
  });

  e2e('--keep of another image into the same target is refused', async () => {
    const dir = makeDir(ordinaryUser(), 'cwd');
    const args = ['--keep', '--target', path.join(dir, 'kept')];
    expect((await run([makeBundle('busybox'), ...args, 'true'])).status).toBe(0);
    const ran = await run([makeBundle('no-rc'), ...args, 'true']);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain(path.join(dir, 'kept'));
  });

  e2e('--keep that is killed while it unpacks leaves nothing under the final name', async () => {
    const user = freshUser();
    const file = makeBundle('tree');
    await run([file, 'true'], { user });
    const begin = performance.now();
    await run([file, '--keep', '--target', path.join(makeDir(user, 'cwd'), 'kept'), 'true'], { user });
    const spanMs = performance.now() - begin;
    let absent = 0;
    for (let delayMs = spanMs / 12; delayMs < spanMs; delayMs += spanMs / 12) {
      const dir = makeDir(user, 'cwd');
      const target = path.join(dir, 'kept');
      const running = start([file, '--keep', '--target', target, 'true'], { user });
      await new Promise((resolve) => setTimeout(resolve, delayMs)); // the moment is the point
      running.child.kill('SIGKILL');
      await running.end();
      await untilAllEnded(user);
      if (existsSync(target))
        expect((await run([file, '--keep', '--target', target, 'sha256sum', '/tree/noise'], { user })).status).toBe(0);
      else absent += 1;
      if (!existsSync(target))
        expect((await run([file, '--keep', '--target', target, 'echo', 'whole'], { user })).stdout).toBe('whole\n');
      await untilAllEnded(user);
      expect(readdirSync(dir)).toEqual(['kept']);
    }
    expect(absent, 'some were killed before the end').toBeGreaterThan(1);
  });

  e2e('--keep whose command is killed stays whole, and the next run uses it again', async () => {
    const user = freshUser();
    const target = path.join(makeDir(user, 'cwd'), 'kept');
    const args = [makeBundle('busybox'), '--keep', '--rw', '--target', target, 'sh', '-c'];
    const running = start([...args, 'echo mine > /etc/mine; echo ready; exec sleep 1000'], { user });
    await running.see(/ready\n/);
    const inode = statSync(target).ino;
    running.child.kill('SIGKILL');
    await running.end();
    await untilAllEnded(user);
    expect(await run([...args, 'cat /etc/mine'], { user })).toMatchObject({ status: 0, stdout: 'mine\n', stderr: '' });
    expect(statSync(target).ino).toBe(inode);
  });

  e2e('a target given to make is expanded at run time', async () => {
    const user = freshUser();
    // biome-ignore lint/suspicious/noTemplateCurlyInString: for the bundle to expand
    const ran = await run([makeBundle('busybox', '-t', '${HOME}/${KEPT:-kept}'), '--keep', 'echo', 'x'], {
      user,
      env: { KEPT: 'mine' },
    });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'x\n' });
    expect(existsSync(path.join(user.home, 'mine/bin/busybox'))).toBe(true);
  });
});
