// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { type Running, start } from '../support/run.ts';
import { freshUser, ordinaryUser, type User } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';
import { bindDev, type Image, makeBusyboxImage, mount, planFor, planRun, startPlan, writePlan } from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage();
});

const kinds = ['own', 'init'] as const;
type Kind = (typeof kinds)[number];
const inside = [mount({ source: 'proc', target: '/proc', type: 'proc' }), bindDev];

function planOf(processes: Kind, script: string, user: User = ordinaryUser(), termSignal = 0) {
  return planFor(image, { processes, termSignal, user, inside, command: ['sh', '-c', script] });
}

interface How {
  readonly user?: User;
  readonly before?: readonly string[];
  readonly detached?: boolean;
  readonly termSignal?: number;
}

function begin(processes: Kind, script: string, { termSignal, ...how }: How = {}): Running {
  return startPlan(planOf(processes, script, how.user, termSignal), how);
}

function onTerminal(processes: Kind, script: string, user: User = ordinaryUser()): Running {
  return begin(processes, script, { user, before: [compileProgram('pty-run')] });
}

const stateOf = (pid: number): string =>
  /^State:\s*(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '?';
const untilStopped = (running: Running) =>
  until(
    () => stateOf(running.pid) === 'T',
    () => stateOf(running.pid),
  );
/** A shell as process 1 handles some signals for itself: only then it is what it starts. */
const untilAsleep = (user: User, count: number) => {
  const asleep = () => listProcesses(user).filter(({ command }) => command.startsWith('sleep')).length;
  return until(
    () => asleep() === count,
    () => `${asleep()} asleep`,
  );
};
/** Counts how often a signal arrives; ends at the next line of input. */
const counting = (name: string) =>
  `n=0; trap 'n=$((n+1)); echo got $n' ${name}; echo ready; until read line; do :; done; echo $n; exit 5`;

for (const kind of kinds) {
  describe(`a supervised command (${kind === 'init' ? 'below an init' : 'as process 1'})`, () => {
    for (const status of [0, 7, 125, 255]) {
      needing(`ends with its own exit status: ${status}`, async () => {
        expect(await begin(kind, `exit ${status}`).end()).toMatchObject({ status, signal: null, stderr: '' });
      });
    }

    needing('sees a process namespace of its own, in which only it and its like are', async () => {
      const ran = await begin(
        kind,
        'echo $$; cat /proc/1/comm; set -- /proc/[0-9]*; echo $#; kill -9 -1; echo on',
      ).end();
      expect(ran.stdout).toBe(kind === 'init' ? '2\nbundler-init\n2\non\n' : '1\nsh\n1\non\n');
    });

    needing('has no child that it did not start', async () => {
      const own = planFor(image, { processes: kind, inside, command: ['peek'] });
      const ran = await startPlan(own).end();
      expect(JSON.parse(ran.stdout)).toMatchObject({ children: 'none' });
    });

    for (const name of ['TERM', 'INT', 'HUP', 'USR1'] as const) {
      needing(`gets SIG${name}, sent to the visible process, once`, async () => {
        const running = begin(kind, counting(name));
        await running.see(/ready\n/);
        running.child.kill(`SIG${name}`);
        await running.see(/got 1\n/);
        expect(await running.end('x\n')).toMatchObject({ status: 5, stdout: 'ready\ngot 1\n1\n' });
      });

      needing(`ends by SIG${name} when it does not handle it, and so does the visible process`, async () => {
        const user = freshUser();
        const running = begin(kind, 'sleep 1000 & exec sleep 1000', { user });
        await untilAsleep(user, 2);
        running.child.kill(`SIG${name}`);
        expect(await running.end()).toMatchObject({ signal: `SIG${name}` });
        await untilAllEnded(user);
      });
    }

    needing('does not end by a signal that it ignores', async () => {
      const running = begin(kind, 'trap "" TERM; echo ready; read line; echo "$line"');
      await running.see(/ready\n/);
      running.child.kill('SIGTERM');
      expect(await running.end('on\n')).toMatchObject({ status: 0, stdout: 'ready\non\n' });
    });

    needing('a signal that the caller ignores stays ignored', async () => {
      const before = ['/bin/sh', '-c', 'trap "" HUP; exec "$@"', 'sh'];
      const running = begin(kind, 'echo ready; read line; echo "$line"', { before });
      await running.see(/ready\n/);
      running.child.kill('SIGHUP');
      expect(await running.end('on\n')).toMatchObject({ status: 0, stdout: 'ready\non\n' });
    });

    needing('SIGTERM arrives as the signal that the image wants for it', async () => {
      const running = begin(kind, counting('QUIT'), { termSignal: 3 });
      await running.see(/ready\n/);
      running.child.kill('SIGTERM');
      await running.see(/got 1\n/);
      expect(await running.end('x\n')).toMatchObject({ status: 5 });
    });

    needing('killed by a signal of its own doing, is followed by the visible process', async () => {
      // Process 1 cannot kill itself.
      const user = freshUser();
      const running = begin(kind, kind === 'init' ? 'ulimit -c 0; kill -SEGV $$' : 'exec sleep 1000', { user });
      if (kind === 'own') {
        await untilAsleep(user, 1);
        running.child.kill('SIGSEGV');
      }
      expect(await running.end()).toMatchObject({ signal: 'SIGSEGV' });
    });

    needing('is killed with the visible process, at any moment', async () => {
      const user = freshUser();
      for (let delayMs = 0; delayMs < 40; delayMs += 4) {
        const running = begin(kind, 'sleep 1000 & sleep 1000', { user });
        await new Promise((resolve) => setTimeout(resolve, delayMs)); // the moment is the point
        running.child.kill('SIGKILL');
        expect((await running.end()).signal).toBe('SIGKILL');
      }
      await untilAllEnded(user);
    });

    needing('takes its background processes with it', async () => {
      const user = freshUser();
      const ran = await begin(kind, 'setsid sleep 1000 & echo left', { user }).end();
      expect(ran).toMatchObject({ status: 0, stdout: 'left\n' });
      expect(listProcesses(user).filter(({ command }) => command.includes('sleep'))).toEqual([]);
    });

    needing('leaves nobody else holding its descriptors', async () => {
      // The pipe ends while the command goes on.
      const shell = ['/bin/sh', '-c', '"$@" | { cat; echo closed; }', 'sh'];
      const running = begin(kind, 'echo out; exec >/dev/null; read line < /dev/fd/0', { before: shell });
      await running.see(/out\nclosed\n/);
      await running.end('x\n');
    });

    needing('leaves no argument and no variable in the visible process', async () => {
      const user = freshUser();
      const env = { SECRET: 'swordfish' };
      const plan = writePlan(planOf(kind, 'echo ready; read line', user));
      const running = start([planRun(), plan], { user, env });
      await running.see(/ready\n/);
      for (const { pid } of listProcesses(user)) {
        const shown = ['cmdline', 'environ'].map((name) => readFileSync(`/proc/${pid}/${name}`, 'latin1')).join('|');
        expect(shown).not.toMatch(/swordfish/);
        if (pid === running.pid) expect(shown).toMatch(/^[^\0]*plan-run[^\0]*\0*\|\0*$/);
      }
      await running.end('x\n');
    });

    needing('is interrupted by Ctrl-C like a plain command', async () => {
      const handled = onTerminal(kind, counting('INT'));
      await handled.see(/ready\r\n/);
      handled.type('\x03');
      await handled.see(/got 1\r\n/);
      handled.type('x\n');
      expect((await handled.end()).stdout).toMatch(/got 1\r\n(x\r\n)?1\r\n$/);
      const user = freshUser();
      const plain = onTerminal(kind, 'exec sleep 1000', user);
      await untilAsleep(user, 1);
      plain.type('\x03');
      expect((await plain.end()).status).toBe(130);
    });

    needing('is stopped by Ctrl-Z and goes on with fg', async () => {
      const plan = writePlan(planOf(kind, 'echo ready; read line; echo "line is $line"; exit 5'));
      const running = start([compileProgram('pty-run'), 'bash', '--norc', '--noprofile', '-i'], {
        env: { PS1: 'prompt> ', TERM: 'dumb' },
      });
      let at = await running.see(/prompt> /);
      running.type(`${planRun()} ${plan}\n`);
      at = await running.see(/ready\r\n/, at);
      running.type('\x1a');
      at = await running.see(/Stopped/, at);
      running.type('fg\n');
      at = await running.see(/plan-run/, at);
      running.type('hello\n');
      at = await running.see(/line is hello\r\n/, at);
      running.type('echo status-$?\n');
      at = await running.see(/status-5\r\n/, at);
      running.type('exit\n');
      await running.end();
    });

    needing('is stopped in the background by reading the terminal, and goes on with fg', async () => {
      const plan = writePlan(planOf(kind, 'read line; echo "line is $line"; exit 5'));
      const running = start([compileProgram('pty-run'), 'bash', '--norc', '--noprofile', '-i'], {
        env: { PS1: 'prompt> ', TERM: 'dumb' },
      });
      let at = await running.see(/prompt> /);
      running.type(`${planRun()} ${plan} &\n`);
      at = await running.see(/prompt> /, at);
      // The shell tells at its next prompt.
      for (let tries = 0; !/Stopped/.test(running.shown.slice(at)) && tries < 200; tries++) {
        running.type('\n');
        await running.see(/prompt> $/);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      at = await running.see(/Stopped/, at);
      running.type('fg\n');
      at = await running.see(/plan-run/, at);
      running.type('hello\n');
      at = await running.see(/line is hello\r\n/, at);
      running.type('echo status-$?\n');
      await running.see(/status-5\r\n/, at);
      running.type('exit\n');
      await running.end();
    });

    needing('with a shell that takes the terminal, hands it back', async () => {
      const plan = writePlan(planFor(image, { processes: kind, inside, command: ['sh', '-i'] }));
      const script = 'echo "$0 $1"; "$0" "$1"; echo back; read line; echo "read $line"';
      const running = start([compileProgram('pty-run'), '/bin/sh', '-c', script, planRun(), plan], {
        env: { TERM: 'dumb' },
      });
      running.type('echo in""side; exit\n');
      await running.see(/inside\r\n/);
      await running.see(/back\r\n/);
      running.type('typed\n');
      await running.see(/read typed\r\n/);
      expect((await running.end()).status).toBe(0);
    });

    needing('goes on when the visible process was stopped and continued', async () => {
      const running = begin(kind, 'echo ready; read line; echo "$line"');
      await running.see(/ready\n/);
      running.child.kill('SIGSTOP');
      await untilStopped(running);
      running.child.kill('SIGCONT');
      expect(await running.end('again\n')).toMatchObject({ status: 0, stdout: 'ready\nagain\n' });
    });
  });
}

describe('a signal to the whole process group', () => {
  needing('reaches a command below an init once', async () => {
    const running = begin('init', counting('TERM'), { detached: true });
    await running.see(/ready\n/);
    process.kill(-running.pid, 'SIGTERM');
    await running.see(/got 1\n/);
    expect(await running.end('x\n')).toMatchObject({ status: 5, stdout: 'ready\ngot 1\n1\n' });
  });

  needing('ends everything of a command that does not handle it', async () => {
    for (const kind of kinds) {
      const user = freshUser();
      const running = begin(kind, 'sleep 1000 & exec sleep 1000', { user, detached: true });
      await untilAsleep(user, 2);
      process.kill(-running.pid, 'SIGTERM');
      expect(await running.end()).toMatchObject({ signal: 'SIGTERM' });
      await untilAllEnded(user);
    }
  });
});

describe('an init', () => {
  needing('lets the visible process stop and go on with the command', async () => {
    const running = begin('init', 'kill -STOP $$; echo on');
    await untilStopped(running);
    running.child.kill('SIGCONT');
    expect(await running.end()).toMatchObject({ status: 0, stdout: 'on\n' });
  });

  needing('reaps what is orphaned', async () => {
    // A zombie would be listed for ever.
    const script =
      '(true & true &); (sleep 0.01 &); while ps -o comm | grep -q -e ^sleep -e ^true; do :; done; echo reaped';
    expect((await begin('init', script).end()).stdout).toBe('reaped\n');
  });

  needing('killed, takes the command with it', async () => {
    const user = freshUser();
    const running = begin('init', 'exec sleep 1000', { user });
    await untilAsleep(user, 1);
    const init = listProcesses(user).find(({ command }) => command === 'bundler-init');
    process.kill(init?.pid ?? Number.NaN, 'SIGKILL');
    expect(await running.end()).toMatchObject({ signal: 'SIGKILL' });
    await untilAllEnded(user);
  });

  needing('without a supervisor is refused', async () => {
    const ran = await startPlan(planFor(image, { after: [{ op: 'init' }] })).end();
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain('init without supervise');
  });
});
