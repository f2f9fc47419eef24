// SPDX-License-Identifier: Apache-2.0
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { freshUser } from '../support/session.ts';
import { listMounts, listProcesses, untilAllEnded } from '../support/snapshot.ts';
import { type Image, makeBusyboxImage, planFor, runPlan, shPlan, startPlan } from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage((root) => {
    writeFileSync(path.join(root, 'bin/no-interpreter'), '#!/no/such/shell -e\n', { mode: 0o755 });
    writeFileSync(path.join(root, 'bin/plain-script'), 'echo plain "$1" "$0"\n', { mode: 0o755 });
    writeFileSync(path.join(root, 'bin/not-executable'), '#!/bin/sh\n', { mode: 0o644 });
    writeFileSync(
      path.join(root, 'bin/other-machine'),
      Buffer.from('7f454c4602010100000000000000000002002800', 'hex'),
      { mode: 0o755 },
    );
    chmodSync(path.join(root, 'bin/not-executable'), 0o644);
  });
});

for (const driver of ['fuse', 'directory', 'memory'] as const) {
  describe(`a plan with the root by ${driver}`, () => {
    needing('runs the command as the user, with the root as / and nothing of the host', async () => {
      const script =
        'id -u; id -g; pwd; test ! -e /lib; cat /etc/hosts; cut -d" " -f5 /proc/self/mountinfo | head -2; test -w /proc/self/comm';
      const shown = await shPlan(image, script, { driver });
      expect(shown).toBe(`4242\n4242\n/\n127.0.0.1 image\n/\n/proc\n`);
    });

    needing('leaves no process and no mount', async () => {
      const user = freshUser();
      const before = listMounts();
      await shPlan(image, 'true', { driver, user });
      await untilAllEnded(user);
      expect(listMounts()).toEqual(before);
    });

    needing('keeps mounts away from the host while it runs', async () => {
      const before = listMounts();
      const running = startPlan(planFor(image, { driver, command: ['sh', '-c', 'echo here; cat'] }));
      await running.see(/here/);
      expect(listMounts()).toEqual(before);
      expect(await running.end()).toMatchObject({ status: 0 });
    });

    needing('maps the user to root where the plan says so', async () => {
      expect(
        await shPlan(image, 'id -u; chroot / id -g; mount -t tmpfs x /tmp; grep -c " /tmp " /proc/self/mountinfo', {
          driver,
          uid: 0,
        }),
      ).toBe('0\n0\n1\n');
    });
  });
}

describe('the exit status', () => {
  const run = (command: readonly string[], search?: string) =>
    runPlan(planFor(image, { command, ...(search === undefined ? {} : { search }) }));

  for (const status of [0, 7, 125, 255]) {
    needing(`is the command's own: ${status}`, async () => {
      expect(await run(['sh', '-c', `exit ${status}`])).toMatchObject({ status, stderr: '' });
    });
  }

  needing('is 128+N after a signal, because the command is the process itself', async () => {
    expect(await run(['sh', '-c', 'kill -TERM $$'])).toMatchObject({ status: 143, signal: 'SIGTERM' });
  });

  needing('is 127 for a name that PATH does not have', async () => {
    const ran = await run(['nothing-like-it']);
    expect(ran).toMatchObject({ status: 127, stderr: 'bundler: nothing-like-it: not found in PATH (/bin:/usr/bin)\n' });
  });

  needing('is 127 for a path that is not there', async () => {
    expect(await run(['/bin/nothing'])).toMatchObject({
      status: 127,
      stderr: 'bundler: run /bin/nothing: No such file or directory\n',
    });
  });

  needing('is 127 and names the interpreter that a script lacks', async () => {
    for (const command of ['/bin/no-interpreter', 'no-interpreter']) {
      const ran = await run([command]);
      expect(ran.status).toBe(127);
      expect(ran.stderr).toBe(
        'bundler: run /bin/no-interpreter: its interpreter /no/such/shell is not in the image: No such file or directory\n',
      );
    }
  });

  needing('is 126 for a file without the right to execute it, by path and by name', async () => {
    for (const command of ['/bin/not-executable', 'not-executable']) {
      const ran = await run([command]);
      expect(ran.status).toBe(126);
      expect(ran.stderr).toMatch(/^bundler: run \/bin\/not-executable: Permission denied\n {2}try: .*chmod \+x/);
    }
  });

  needing('is 126 for a directory and for a program of another machine', async () => {
    expect(await run(['/bin'])).toMatchObject({ status: 126, stderr: 'bundler: run /bin: Is a directory\n' });
    const other = await run(['other-machine']);
    expect(other.status).toBe(126);
    expect(other.stderr).toContain('another kind of machine');
  });

  needing('a file without a known format is run by /bin/sh, as execvp does', async () => {
    expect(await run(['plain-script', 'arg'])).toMatchObject({ status: 0, stdout: 'plain arg /bin/plain-script\n' });
  });

  needing('PATH is searched in its order, and empty parts are the working directory', async () => {
    expect(await run(['true'], '/nowhere:/etc/passwd:/bin')).toMatchObject({ status: 0 });
    const after = [{ op: 'cwd', path: '/bin', flags: 0 } as const];
    expect(await runPlan(planFor(image, { command: ['true'], search: '', after }))).toMatchObject({ status: 0 });
  });

  needing('is 125 with a message when the plan cannot be obeyed', async () => {
    const ran = await runPlan(planFor(image, { after: [{ op: 'cwd', path: '/nowhere', flags: 0 }] }));
    expect(ran).toMatchObject({
      status: 125,
      stderr: 'bundler: enter the working directory /nowhere: No such file or directory\n',
    });
  });
});

describe('small operations', () => {
  needing('exit prints both texts and returns its status', async () => {
    const ran = await runPlan([
      { op: 'warn', text: 'first' },
      { op: 'exit', status: 9, stdout: 'out\0binary', stderr: 'err' },
    ]);
    expect(ran).toMatchObject({ status: 9, stdout: 'out\0binary', stderr: 'first\nerr' });
  });

  needing('cwd is entered, made where asked for, and optional where asked for', async () => {
    expect(await shPlan(image, 'pwd', { after: [{ op: 'cwd', path: '/usr/bin', flags: 0 }] })).toBe('/usr/bin\n');
    expect(await shPlan(image, 'pwd', { after: [{ op: 'cwd', path: '/none', flags: 2 }] })).toBe('/\n');
    expect(await shPlan(image, 'pwd', { driver: 'memory', after: [{ op: 'cwd', path: '/made/here', flags: 1 }] })).toBe(
      '/made/here\n',
    );
  });

  needing('hostname, network and ipc namespaces: a name of its own and a loopback that is up', async () => {
    const shown = await shPlan(image, 'hostname; ip -o addr show lo | grep -c 127.0.0.1; ip -o link | wc -l', {
      unshare: 1 + 4 + 8 + 16 + 32,
      after: [{ op: 'hostname', name: 'inside' }],
    });
    expect(shown).toBe('inside\n1\n1\n');
  });

  needing('dropCaps and noNewPrivs hold for a command mapped to root', async () => {
    const script = 'grep -E "^(Cap|NoNewPrivs)" /proc/self/status | tr -d "\\t"';
    const shown = await shPlan(image, script, { uid: 0, after: [{ op: 'noNewPrivs' }, { op: 'dropCaps' }] });
    expect(shown).toBe(
      `${['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'].map((name) => `Cap${name}:0000000000000000\n`).join('')}NoNewPrivs:1\n`,
    );
  });
});

describe('a plan from a broken planner', () => {
  needing('leaves no server behind when it fails half way', async () => {
    const user = freshUser();
    const ran = await runPlan(planFor(image, { user, inside: [{ op: 'mkdir', path: '/new', mode: 0o755 }] }), { user });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/make the directory \/new .*Read-only file system\n {2}try: .*--rw/);
    await untilAllEnded(user);
    expect(listProcesses(user)).toEqual([]);
  });
});
