// SPDX-License-Identifier: Apache-2.0
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { planLaunch } from '../../runtime/plan-launch.ts';
import { servePlanner } from '../../runtime/serve-planner.ts';
import { fromBuffer, fromText } from '../../src/format/bytes.ts';
import { decodeReply, encodeFacts, type Fact, frame, type Reply } from '../../src/format/wire.ts';
import { allOk, makeInput } from './launch-fixture.ts';

const scratch = mkdtempSync(join(tmpdir(), 'planner-'));
afterAll(() => rmSync(scratch, { recursive: true }));

function requestFacts(args: readonly string[], env: readonly string[], cwd = scratch): Fact[] {
  const { manifest } = makeInput();
  return [
    ['wire', '1'],
    ...['./np.run', ...args].map((arg): Fact => ['argv', arg]),
    ...env.map((item): Fact => ['env', item]),
    // Whoever runs the tests: the host's files know him.
    ...(['uid', 'euid'] as const).map((key): Fact => [key, String(process.getuid?.())]),
    ...(['gid', 'egid'] as const).map((key): Fact => [key, String(process.getgid?.())]),
    ['groups', '4242'],
    ['cwd', cwd],
    ['umask', '022'],
    ['tty', ''],
    ['exe', '/work/np.run'],
    ['launcher', '9.8.7'],
    ['kernel', '6.18.0'],
    ['machine', 'x86_64'],
    ['hostname', 'box'],
    ['file-size', '120000000'],
    ['section', `payload 28000256 90001408 90001408 ${'ab'.repeat(32)}`],
    ['manifest', fromText(JSON.stringify({ ...manifest, description: 'Größe' }))],
    ['cache-dir', '/c'],
    ['runtime-from', 'warm'],
    ['cpus', '2'],
    ['pid', String(process.pid)],
  ];
}

/** Plays the launcher: everything it says is written first, then the planner's replies are read. */
async function talk(frames: readonly (readonly Fact[])[]): Promise<Reply[]> {
  const input = join(scratch, 'input');
  const output = join(scratch, 'output');
  writeFileSync(input, Buffer.concat(frames.map((facts) => frame(encodeFacts(facts)))));
  const from = openSync(input, 'r');
  const to = openSync(output, 'w');
  await servePlanner(from, to);
  closeSync(from);
  closeSync(to);
  const replies: Reply[] = [];
  for (let data = readFileSync(output); data.length > 0; ) {
    const sizeBytes = data.readUInt32LE();
    replies.push(decodeReply(data.subarray(4, 4 + sizeBytes)));
    data = data.subarray(4 + sizeBytes);
  }
  return replies;
}

const probes = (differs: Record<string, string> = {}): Fact[] =>
  Object.entries({ ...allOk, ...differs }).map(([name, value]) => [`probe.${name}`, value]);
const ask = async (args: readonly string[], env: readonly string[] = ['HOME=/h'], ...more: Fact[][]) =>
  talk([requestFacts(args, env), probes(), ...more]);

describe('the planner talks to the launcher', () => {
  test('--help shows the options and the description, as bytes', async () => {
    const [reply] = await ask(['--help']);
    expect(reply).toMatchObject({ kind: 'text', status: 0, stderr: '' });
    const text = reply?.kind === 'text' ? reply.stdout : '';
    expect(text).toContain('Usage: np.run [options] [--] [COMMAND] [ARG...]\n');
    expect(text).toContain(fromText('Größe'));
    expect(text).toContain('  -e, --env KEY[=VAL]');
    expect(text).toContain('--gpus LIST');
  });

  test('--version and --licenses', async () => {
    expect(await ask(['--version'])).toEqual([{ kind: 'text', status: 0, stdout: 'bundler 9.8.7\n', stderr: '' }]);
    const [licences] = await ask(['--licenses']);
    expect(licences).toMatchObject({ status: 0 });
    expect(licences?.kind === 'text' && licences.stdout.length > 1000).toBe(true);
  });

  test('--info as text and as JSON', async () => {
    const [text] = await ask(['--info']);
    expect(text).toMatchObject({ stdout: expect.stringContaining('unsquashfs -o 28000256 -l /work/np.run') });
    const [json] = await ask(['--info', '--json']);
    const info = JSON.parse(json?.kind === 'text' ? json.stdout : '');
    expect(info).toMatchObject({
      name: 'np',
      description: fromText('Größe'),
      payload: { offset: 28_000_256, compressor: 'zstd', digest: 'ab'.repeat(32) },
      targetDirectory: `${scratch}/np`,
      cacheDirectory: '/c',
    });
  });

  test('an ordinary launch is a plan', async () => {
    const [reply, ...rest] = await ask(['true']);
    expect(rest).toEqual([]);
    expect(reply?.kind).toBe('plan');
    expect(reply?.kind === 'plan' && reply.plan.at(-1)).toMatchObject({
      op: 'exec',
      argv: ['/bin/sh', '/etc/rc', 'true'],
    });
  });

  test('a launch that must unpack asks for places first', async () => {
    const answer: Fact[] = [['answer', '/v ok 500000000 ext4 exec\n']];
    const [question, reply] = await talk([requestFacts([], []), probes({ fuse: 'open 2' }), answer]);
    expect(question).toEqual({ kind: 'ask', questions: ['places 284096000'] });
    expect(reply?.kind === 'plan' && reply.plan[0]).toMatchObject({ op: 'extract', place: '/v' });
  });

  test("--clear-cache is the launcher's work", async () => {
    const [question, reply] = await ask(['--clear-cache'], [], [['answer', '/c/runtime-1']]);
    expect(question).toEqual({ kind: 'ask', questions: ['clear-cache'] });
    expect(reply).toMatchObject({ status: 0, stdout: '/c/runtime-1\n' });
  });

  test('--dry-run prints a launch that can be planned again, with no variable that it does not use', async () => {
    const [reply] = await ask(['--dry-run', 'cmd', '\xff'], ['HOME=/h', 'UNUSED=hunter2', 'TERM=x']);
    const text = reply?.kind === 'text' ? reply.stdout : '';
    expect(text).not.toContain('hunter2');
    const { plan, input, looked } = JSON.parse(text);
    expect(planLaunch(input)).toEqual({ plan });
    expect(plan.at(-1).argv.at(-1)).toBe('\xff');
    expect(looked.paths).toContain('/etc/passwd');
    expect(looked.variables).toContain('TERM');
  });

  test('BUNDLER_TRACE_PLAN writes the same to a file for its owner only', async () => {
    const [reply] = await ask(['x'], ['BUNDLER_TRACE_PLAN=trace.json']);
    expect(reply?.kind).toBe('plan');
    const path = join(scratch, 'trace.json');
    const { plan, input } = JSON.parse(fromBuffer(readFileSync(path)));
    expect(planLaunch(input)).toEqual({ plan });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const [failed] = await ask(['x'], ['BUNDLER_TRACE_PLAN=/nope/x']);
    expect(failed).toMatchObject({
      status: 125,
      stderr: 'bundler: BUNDLER_TRACE_PLAN=/nope/x: no such file or directory\n',
    });
  });

  test('--verify judges the host and says what it would do', async () => {
    const places: Fact[] = [['answer', '/v ok 500000000 ext4 exec\n/t exec 13\n']];
    const tries: Fact[] = [
      ['answer', 'ok'],
      ['answer', '/v ok 500000000 ext4\n'],
    ];
    const [first, second, good] = await talk([requestFacts(['--verify'], []), probes(), places, tries]);
    expect(first).toMatchObject({ kind: 'ask', questions: [expect.stringMatching(/^places \d+$/)] });
    expect(second).toMatchObject({ kind: 'ask', questions: ['exec /v', expect.stringMatching(/^layers \d+$/)] });
    expect(good).toMatchObject({ status: 0, stdout: expect.stringContaining('mounted in place through FUSE') });
    const bad = { userns: 'unshare 28', mount: 'skipped', fuse: 'skipped', overlay: 'skipped' };
    const text = (
      await talk([requestFacts(['-v'], []), probes(bad), places, tries.with(1, ['answer', 'ptrace seize 1\n'])])
    ).at(-1);
    expect(text).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('try: sudo sysctl -w user.max_user_namespaces'),
    });
    const json = (await talk([requestFacts(['-v', '--json'], []), probes({ fuse: 'open 13' }), places, tries])).at(-1);
    const verdict = JSON.parse(json?.kind === 'text' ? json.stdout : '');
    expect(verdict).toMatchObject({ ok: true, uses: { driver: 'extract', place: '/v' } });
    expect(verdict.checks.find(({ id }: { id: string }) => id === 'fuse')).toMatchObject({
      ok: false,
      cure: 'sudo chmod 666 /dev/fuse',
    });
  });

  test('wrong use is one line and the usage, with status 125', async () => {
    expect(await ask(['--nope'])).toEqual([
      {
        kind: 'text',
        status: 125,
        stdout: '',
        stderr: 'bundler: unknown option --nope\nUsage: np.run [options] [--] [COMMAND] [ARG...]\n',
      },
    ]);
  });

  test('an unreadable --rc, --env-file or cwd is named', async () => {
    const [rc] = await ask(['--rc', '/nope']);
    expect(rc).toMatchObject({ status: 125, stderr: 'bundler: --rc /nope: no such file or directory\n' });
    const [file] = await ask(['--env-file', scratch]);
    expect(file).toMatchObject({ stderr: `bundler: --env-file ${scratch}: it is a directory\n` });
  });

  test("--rc and --env-file are read from the caller's directory", async () => {
    writeFileSync(join(scratch, 'my.rc'), 'echo hi\n');
    writeFileSync(join(scratch, 'my.env'), 'A=1\n');
    const [reply] = await ask(['--rc', 'my.rc', '--env-file=my.env']);
    const plan = reply?.kind === 'plan' ? reply.plan : [];
    expect(plan).toContainEqual({ op: 'entry', kind: 2, path: '/etc/rc', mode: 0o755, data: 'echo hi\n' });
    expect(plan.find(({ op }) => op === 'env')).toMatchObject({ vars: expect.arrayContaining(['A=1']) });
  });

  test('a manifest of another shape is refused', async () => {
    const facts = requestFacts([], []);
    for (const [manifest, why] of [
      ['{', 'the manifest is not JSON'],
      ['{"manifestVersion":2}', "the manifest's manifestVersion is not what"],
      ['{"manifestVersion":1,"name":"x","description":""}', "the manifest's provenance is not what"],
    ] as const) {
      const changed = facts.map((fact): Fact => (fact[0] === 'manifest' ? ['manifest', manifest] : fact));
      const [reply] = await talk([changed, probes()]);
      expect(reply).toMatchObject({ status: 125, stderr: expect.stringContaining(why) });
    }
  });

  test('a launcher of another version, or one that stops talking, is a bug and says so', async () => {
    const [version] = await talk([[['wire', '2']]]);
    expect(version).toMatchObject({ status: 125, stderr: expect.stringContaining("a request of version '2', not 1") });
    const [early] = await talk([requestFacts([], [])]);
    expect(early).toMatchObject({ status: 125, stderr: expect.stringContaining('this is a bug in the planner') });
  });
});
