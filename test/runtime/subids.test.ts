// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { runQuestion } from '../../runtime/host-program.ts';
import { planLaunch } from '../../runtime/plan-launch.ts';
import type { Subids } from '../../runtime/subids.ts';
import { type Change, makeInput, pick, planOf } from './launch-fixture.ts';

const subids: Subids = {
  subuid: 'bob:1:1\nann:100000:65536\n',
  subgid: '4242:200000:65536\n',
  newuidmap: '/usr/bin/newuidmap',
  newgidmap: '/usr/bin/newgidmap',
};

function launch(more: Partial<Subids> = {}, change: Change = {}): Change {
  const args = ['--subuid', ...(change.args ?? [])];
  return { ...change, args, host: { ...change.host, subids: { ...subids, ...more } } };
}

const mapsOf = (change: Change) => pick(planOf(change), 'usernsRanges')[0];
const failureOf = (change: Change): Failure => {
  try {
    planOf(change);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it was planned');
};

describe('--subuid', () => {
  test('maps the caller to himself and his ranges to all ids around', () => {
    const plan = planOf(launch());
    expect(pick(plan, 'userns')).toEqual([]);
    expect(mapsOf(launch())).toEqual({
      op: 'usernsRanges',
      uidMap: ['4242', '4242', '1', '0', '100000', '4242', '4243', '104242', '61294'],
      gidMap: ['4242', '4242', '1', '0', '200000', '4242', '4243', '204242', '61294'],
      newuidmap: '/usr/bin/newuidmap',
      newgidmap: '/usr/bin/newgidmap',
    });
  });

  test('maps the caller to whom he wants to be', () => {
    expect(mapsOf(launch({}, { args: ['--root'] }))).toMatchObject({
      uidMap: ['0', '4242', '1', '1', '100000', '65536'],
      gidMap: ['0', '4242', '1', '1', '200000', '65536'],
    });
    expect(mapsOf(launch({}, { args: ['--user', '1000:70000'] }))).toMatchObject({
      uidMap: ['1000', '4242', '1', '0', '100000', '1000', '1001', '101000', '64536'],
      gidMap: ['70000', '4242', '1', '0', '200000', '65536'],
    });
  });

  test('joins several ranges, in their order', () => {
    const subuid = 'ann:500000:10\nann:100000:5\n';
    expect(mapsOf(launch({ subuid }, { args: ['--root'] }))).toMatchObject({
      uidMap: ['0', '4242', '1', '1', '500000', '10', '11', '100000', '5'],
    });
  });

  test('is on with BUNDLER_SUBUID, and off without', () => {
    const asked = { host: { subids }, env: { BUNDLER_SUBUID: '1' } };
    expect(pick(planOf(asked), 'usernsRanges')).toHaveLength(1);
    expect(pick(planOf({ host: { subids } }), 'usernsRanges')).toEqual([]);
    expect(pick(planOf({ host: { subids }, env: { BUNDLER_SUBUID: 'no' } }), 'usernsRanges')).toEqual([]);
  });

  test("shows the image's own owners, and needs no filter for root", () => {
    const plan = planOf(launch({}, { args: ['--root', '--rw'] }));
    expect(pick(plan, 'serve')).toMatchObject([{ flags: 1, uid: 0, gid: 0 }]);
    expect(pick(plan, 'seccomp')).toEqual([]);
    expect(pick(plan, 'dropCaps')).toEqual([]);
    expect(pick(planOf({}), 'serve')).toMatchObject([{ flags: 0 }]);
  });

  test('a process namespace has an init, which nothing that becomes another user can shake off', () => {
    expect(pick(planOf(launch({}, { args: ['--pid'] })), 'init')).toHaveLength(1);
    expect(pick(planOf(launch()), 'init')).toEqual([]);
  });

  test('shares its server with nobody', () => {
    expect(pick(planOf(launch()), 'share')).toEqual([]);
  });

  test('asks getsubids where the files know nothing, and takes its answer', () => {
    const silent = launch({ subuid: '', subgid: '' });
    const [uids, gids] = [runQuestion(['getsubids', 'ann']), runQuestion(['getsubids', '-g', 'ann'])];
    const first = planLaunch(makeInput(silent));
    expect(first).toEqual({ ask: [uids] });
    const answers = { [uids]: 'exit 0\n0: ann 300000 65536\n', [gids]: 'exit 0\n0: ann 400000 65536\n' };
    const answered = launch({ subuid: '', subgid: '' }, { args: ['--root'], host: { answers } });
    expect(mapsOf(answered)).toMatchObject({
      uidMap: ['0', '4242', '1', '1', '300000', '65536'],
      gidMap: ['0', '4242', '1', '1', '400000', '65536'],
    });
    const unknown = launch({ subuid: '' }, { host: { answers: { [uids]: 'failed 2\n' } } });
    const { message, hint } = failureOf(unknown);
    expect(message).toBe('--subuid: /etc/subuid gives no range of ids to ann');
    expect(hint).toContain('sudo usermod --add-subuids');
  });

  test('says which program is missing, and how to get it', () => {
    const { message, hint } = failureOf(launch({ newgidmap: '' }));
    expect(message).toBe('--subuid needs newgidmap, which this host does not have');
    expect(hint).toContain('sudo apt install uidmap');
  });

  test.each([
    ['two ranges', 'ann:100000:10\nann:100009:10\n', 100009],
    ["a range and the caller's own id", 'ann:4000:1000\n', 4242],
  ])('refuses ranges that overlap: %s', (_what, subuid, at) => {
    const { message, hint } = failureOf(launch({ subuid }));
    expect(message).toBe(`--subuid: the ranges of /etc/subuid overlap at ${at}`);
    expect(hint).toContain('/etc/subuid');
  });

  test('leaves out lines that say nothing', () => {
    const subuid = '# a comment\nann:5\nann:x:y\nann:7:0\nann:100000:65536\n';
    expect(mapsOf(launch({ subuid }, { args: ['--root'] }))).toMatchObject({
      uidMap: ['0', '4242', '1', '1', '100000', '65536'],
    });
  });

  test('refuses a layer on disk that could not be removed again', () => {
    const question = launch({}, { args: ['--rw'], env: { BUNDLER_RW: 'disk' } });
    const asked = planLaunch(makeInput(question));
    if (!('ask' in asked)) throw new Error('asks nothing');
    const answers = Object.fromEntries(asked.ask.map((text) => [text, '/tmp/bundler-4242 ok 99999999999 ext4\n']));
    const { message, hint } = failureOf({ ...question, host: { ...question.host, answers } });
    expect(message).toContain('--subuid with --rw needs a writable layer in memory');
    expect(hint).toContain('--overlay DIR');
    expect(pick(planOf(launch({}, { args: ['--overlay', '/work/layer'] })), 'layer')).toMatchObject([
      { dir: '/work/layer', owners: 'ranges' },
    ]);
  });
});
