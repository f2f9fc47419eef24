// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import type { Op, Plan } from '../../src/format/plan.ts';
import { decodeFacts } from '../../src/format/wire.ts';
import { testNeeding } from '../support/features.ts';
import { type Ran, start } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { bindDev, bindProc, type Image, MS, makeBusyboxImage, mount, planFor, planRun, writePlan } from './plan-rig.ts';

const needs = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');

let image: Image;
beforeAll(() => {
  image = makeBusyboxImage();
}, 120_000);

interface Hooked extends Ran {
  readonly facts: Record<string, string>;
}

type Fields = Partial<Extract<Op, { op: 'hook' }>>;
const hook = (argv: readonly string[], fields: Fields = {}): Op => ({
  op: 'hook',
  name: 'the-hook',
  argv,
  env: ['PATH=/usr/bin:/bin'],
  paths: [],
  search: '',
  output: '',
  ...fields,
});
const shell = (script: string, fields: Fields = {}): Op => hook(['/bin/sh', '-ec', script], fields);
const stage = (file: string, content: string, mode = 0o600): Op => ({ op: 'stage', path: file, mode, content });
const resume = (...files: string[]): Op => ({ op: 'resume', files });
const overlay: Op = { op: 'overlay', upper: '', work: '', sizeBytes: 0 };

/** A plan in two parts: first from the namespaces to `resume`, then rest to the command. */
async function runHooked(
  inside: Plan,
  rest: Plan = [],
  options: {
    command?: readonly string[];
    env?: Record<string, string>;
    cwd?: string;
    end?: Op;
    after?: Plan;
    before?: readonly string[];
  } = {},
): Promise<Hooked> {
  const exec: Op = options.end ?? { op: 'exec', argv: options.command ?? ['true'], search: '/bin' };
  const last = inside.at(-1);
  const first = planFor(image, {
    readonly: false,
    inside: [overlay, bindProc, bindDev, ...inside.slice(0, -1)],
    end: last as Op,
  });
  const plan = first.filter(({ op }) => op !== 'pivot' && op !== 'env');
  const second: Plan = [...rest, { op: 'pivot' }, ...(options.after ?? []), { op: 'env', vars: ['PATH=/bin'] }, exec];
  const facts = path.join(makeDir(ordinaryUser(), 'facts'), 'facts');
  const argv = [...(options.before ?? []), planRun(), writePlan(plan), writePlan(second), facts];
  const ran = await start(argv, { ...options, env: options.env ?? {} }).end();
  const told = readFacts(facts);
  return { ...ran, facts: told };
}

function readFacts(file: string): Record<string, string> {
  try {
    return Object.fromEntries(decodeFacts(readFileSync(file)));
  } catch {
    return {};
  }
}

describe('hooks of the host', () => {
  needs('run with the root in place, and what they write is in it', async () => {
    const script = 'echo hooked > "$ROOT/made"; ls "$ROOT/etc" | grep passwd; test -d "$ROOT/proc/self"';
    const ran = await runHooked([shell(script, { paths: ['ROOT=root'] }), resume()], [{ op: 'readonly' }], {
      command: ['sh', '-c', 'cat /made; echo x > /more'],
    });
    expect(ran.stdout).toBe('hooked\n');
    expect(ran.stderr).toContain('Read-only file system');
  });

  needs(
    'run as the user with capabilities, in his directory, with his umask, stdin and stderr; stdout goes nowhere',
    async () => {
      const dir = makeDir(ordinaryUser());
      const script = 'grep CapEff /proc/self/status >&2; umask >&2; pwd >&2; id -u >&2; cat >&2; echo lost';
      const ran = await runHooked([shell(script), resume()], [], {
        cwd: dir,
        before: ['/bin/sh', '-c', 'umask 027; exec "$@" < /etc/hostname', 'sh'],
      });
      const hostname = readFileSync('/etc/hostname', 'utf8');
      expect(ran.stderr.replace(/CapEff:\t0*[1-9a-f][0-9a-f]*/, 'capable')).toBe(
        `capable\n0027\n${dir}\n4242\n${hostname}`,
      );
      expect(ran.stdout).toBe('');
    },
  );

  needs('read staged files, run staged programs, and tell what they print', async () => {
    const program = '#!/bin/sh\necho "$1 $DATA"; cat "$DATA"\n';
    const ran = await runHooked([
      stage('run/sub/data', 'staged\n'),
      stage('run/program', program, 0o700),
      hook(['run/program', 'an argument'], { paths: ['DATA=run/sub/data'], output: 'run/out' }),
      resume('run/out', 'run/missing', 'run/sub/data'),
    ]);
    expect(ran.status, ran.stderr).toBe(0);
    const out = ran.facts['file.run/out'] ?? '';
    expect(out).toMatch(/^an argument \/.*\/run\/sub\/data\nstaged\n$/);
    expect(ran.facts).toEqual({ 'file.run/out': out, 'file.run/sub/data': 'staged\n' });
  });

  needs('see the host: an empty directory is covered, and nothing else', async () => {
    const list = 'ls -A /tmp /var/tmp /home /run > /dev/null; test ! -e /tmp/root; echo "$ROOT"';
    const ran = await runHooked([shell(list, { paths: ['ROOT=root'], output: 'run/out' }), resume('run/out')]);
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.facts['file.run/out']).toMatch(/^\/(mnt|srv|media|opt|proc\/fs|proc\/irq)\/root\n$/);
  });

  needs('are followed by mounts whose sources are opened then', async () => {
    const dir = makeDir(ordinaryUser());
    const made = path.join(dir, 'made-by-a-hook');
    const ran = await runHooked(
      [shell(`mkdir ${made}; echo found > ${made}/file`), resume()],
      [mount({ source: made, target: '/mnt/made', msFlags: MS.BIND, options: 1 })],
      { command: ['cat', '/mnt/made/file'] },
    );
    expect(ran).toMatchObject({ status: 0, stdout: 'found\n', stderr: '' });
  });

  needs(
    'leave no trace in the container: neither processes, descriptors, ambient capabilities nor staged files',
    async () => {
      const inside =
        'grep -E "CapEff|CapAmb|NoNewPrivs" /proc/self/status; ls /proc/self/fd; find / -xdev -name run-secret';
      const ran = await runHooked([stage('run/run-secret', 'x'), shell('true'), resume()], [], {
        after: [{ op: 'dropCaps' }],
        command: ['sh', '-c', inside],
      });
      const plain = await start(['/bin/sh', '-c', 'ls /proc/self/fd']).end();
      const nothing = 'CapEff: 0000000000000000\nCapAmb: 0000000000000000\nNoNewPrivs: 0\n';
      expect(ran.stdout.replace(/\t/g, ' ')).toBe(nothing + plain.stdout);
    },
  );

  needs('that fail end the launch with the name and the status', async () => {
    expect(await runHooked([shell('exit 3'), resume()])).toMatchObject({
      status: 125,
      stderr: 'bundler: the hook the-hook ended with status 3\n',
    });
    expect(await runHooked([shell('kill -TERM $$'), resume()])).toMatchObject({
      status: 125,
      stderr: 'bundler: the hook the-hook was killed by signal 15 (Terminated)\n',
    });
    const missing = await runHooked([hook(['/nonexistent/program']), resume()]);
    expect(missing.stderr).toContain('the hook the-hook ended with status 127');
  });

  needs('tell their status although the caller ignores SIGCHLD, which stays ignored', async () => {
    const ignore = ['/usr/bin/env', '--ignore-signal=CHLD'];
    const status = ['SigIgn', '/proc/self/status'];
    const hooks = [hook(['/bin/grep', ...status], { output: 'run/out' }), resume('run/out')];
    const ran = await runHooked(hooks, [], { before: ignore, command: ['grep', ...status] });
    const bit = (text = '') => (BigInt(`0x${/SigIgn:\s*([0-9a-f]+)/.exec(text)?.[1] ?? '0'}`) >> 16n) & 1n;
    expect(ran.status, ran.stderr).toBe(0);
    expect([bit(ran.facts['file.run/out']), bit(ran.stdout)]).toEqual([1n, 1n]);
    expect((await runHooked([shell('exit 3'), resume()], [], { before: ignore })).status).toBe(125);
  });

  needs('may leave a process behind that holds their output open', async () => {
    const ran = await runHooked([shell('sleep 3 & echo done', { output: 'run/out' }), resume('run/out')]);
    expect(ran.facts['file.run/out']).toBe('done\n');
  });

  needs('cannot lead the launcher out of the staging directory by a link', async () => {
    const dir = makeDir(ordinaryUser());
    writeFileSync(path.join(dir, 'victim'), 'untouched');
    mkdirSync(path.join(dir, 'sub'));
    const script = `ln -s ${dir} "$RUN/link"; ln -s ${dir}/victim "$RUN/file"`;
    const ran = await runHooked([
      stage('run/x', ''),
      shell(script, { paths: ['RUN=run'] }),
      shell('echo overwritten', { output: 'run/file' }),
      resume('run/link/victim', 'run/file'),
    ]);
    expect(readFileSync(path.join(dir, 'victim'), 'utf8')).toBe('untouched');
    expect(ran.facts['file.run/file']).toBe('overwritten\n');
    expect(ran.facts['file.run/link/victim']).toBeUndefined();
  });
});

describe('a plan in two parts', () => {
  needs('may end with an exit status', async () => {
    const ran = await runHooked([shell('true'), resume()], [], {
      end: { op: 'exit', status: 9, stdout: 'out', stderr: 'err' },
    });
    expect(ran).toMatchObject({ status: 9, stdout: 'out', stderr: 'err' });
  });

  needs('is refused without one who gives the rest', async () => {
    const plan = planFor(image, { inside: [overlay, shell('true')], end: resume() }).filter(({ op }) => op !== 'pivot');
    const ran = await start([planRun(), writePlan(plan)]).end();
    expect(ran).toMatchObject({ status: 125, stderr: 'bundler: obey the launch plan: resume where it cannot be\n' });
  });

  needs('is refused when it is in three parts', async () => {
    const ran = await runHooked([shell('true'), resume()], [shell('true')], { end: resume() });
    expect(ran.status).toBe(125);
  });
});
