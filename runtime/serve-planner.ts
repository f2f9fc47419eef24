// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { posix } from 'node:path';
import { type Bytes, fromText, toBuffer } from '../src/format/bytes.ts';
import { parseDirectives } from '../src/format/enroot-conf.ts';
import type { Manifest } from '../src/format/manifest.ts';
import type { Plan } from '../src/format/plan.ts';
import { type Fact, type Reply, WireError } from '../src/format/wire.ts';
import { readFacts, writeReply } from './channel.ts';
import { type Configuration, embeddedConfiguration, merge } from './configuration.ts';
import { mayAskForDevices, planNoDevices } from './device-gate.ts';
import { environmentAfter } from './environment.ts';
import { absolutePath } from './expand.ts';
import { Failure, ownFailureStatus, UsageFailure } from './failure.ts';
import type { DevicePlanner } from './gpu/device-plan.ts';
import { writeReport } from './gpu/report-text.ts';
import { usageLine, writeHelp } from './help.ts';
import { answerMountRequest, isMountRequest } from './hook-mounts.ts';
import { describe, lookAtSources, readHost, readOptionFile } from './host.ts';
import { readResumed } from './host-hooks.ts';
import { describeBundle, writeInfo } from './info.ts';
import type { LaunchInput } from './launch-input.ts';
import { readManifest } from './manifest.ts';
import { Observer } from './observer.ts';
import { type Options, parseOptions } from './options.ts';
import { planLaunch } from './plan-launch.ts';
import { type Request, readRequest } from './request.ts';
import { readSettings, type SettingSources } from './settings.ts';
import { profileOf, reportLaunch, verifyHost } from './verify.ts';
import { writeVerdict } from './verify-text.ts';

/** One conversation with the launcher: a request in, one text or plan out, with questions in between. */
export async function servePlanner(input: number, output: number): Promise<void> {
  let program = 'bundle.run';
  let reply: Reply;
  try {
    const { request, manifest, root } = readRequest(readFacts(input));
    program = posix.basename(request.argv[0] ?? '') || program;
    const ask = (questions: readonly string[]) => {
      writeReply(output, { kind: 'ask', questions });
      return readAnswers(readFacts(input), questions);
    };
    const resume = (plan: Reply) => {
      writeReply(output, plan);
      for (;;) {
        const facts = readFacts(input);
        if (!isMountRequest(facts)) return facts;
        writeReply(output, answerMountRequest(facts));
      }
    };
    reply = await answer({ request, program, root, readProbes: () => readFacts(input), ask, resume }, manifest);
  } catch (error) {
    reply = explain(error, program);
  }
  writeReply(output, reply);
}

interface Conversation {
  readonly request: Request;
  readonly program: Bytes;
  /** A directory that stands for the host, where the request names one; the launcher does not. */
  readonly root: Bytes;
  readonly readProbes: () => Fact[];
  readonly ask: (questions: readonly string[]) => Record<string, Bytes>;
  /** Sends the first part of a plan; gives what the launcher says when it has obeyed it. */
  readonly resume: (plan: Reply) => Fact[];
}

async function answer(talk: Conversation, manifestBytes: Bytes): Promise<Reply> {
  const observer = new Observer(talk.root);
  const request: Request = { ...talk.request, env: observer.watchVariables(talk.request.env) };
  const options = parseOptions(request.argv.slice(1));
  const manifest = readManifest(manifestBytes);
  switch (options.action) {
    case 'help':
      return say(writeHelp(talk.program, manifest.description));
    case 'version':
      return say(`bundler ${request.launcher}\n`);
    case 'licenses':
      return say(fromText((await import('../licenses/NOTICES.txt')).default));
    case 'info': {
      const info = describeBundle(manifest, request);
      return say(options.json ? toJson(info) : writeInfo(info));
    }
    case 'apparmor':
      return say(profileOf(request).text);
    case 'clear-cache':
      talk.readProbes();
      return say(withNewline(talk.ask(['clear-cache'])['clear-cache'] ?? ''));
    default:
      return launch(talk, observer, manifest, request, options);
  }
}

async function launch(
  talk: Conversation,
  observer: Observer,
  manifest: Manifest,
  request: Request,
  options: Options,
): Promise<Reply> {
  // Before any question: the launcher sends the probes unasked.
  const probes = talk.readProbes();
  const configured = await readConfigured(talk, observer, manifest, request, options);
  const files = configured.conf === null ? {} : { [options.conf as Bytes]: configured.conf };
  const early = {
    manifest,
    request,
    options,
    configuration: configured.configuration,
    settings: readSettings(configured.sources, options),
    resumed: null,
  };
  let input: LaunchInput = { ...early, host: readHost(observer, early, probes, files) };
  // What supports devices is much, and most launches ask for none.
  let planDevices: DevicePlanner = planNoDevices;
  const lookAtDevices = async (environ?: Map<string, Bytes>) => {
    if (options.action === 'run' && !mayAskForDevices(input, environ)) return;
    const gpu = await import('./gpu/devices.ts');
    planDevices = gpu.planDevices;
    const devices = await gpu.readDevices(observer, input, options.action !== 'run', environ);
    input = { ...input, host: { ...input.host, devices } };
  };
  await lookAtDevices();
  const learn = (questions: readonly string[]) => {
    input = { ...input, host: { ...input.host, answers: { ...input.host.answers, ...talk.ask(questions) } } };
  };
  if (options.action === 'verify') {
    const { reportDevices } = await import('./gpu/devices.ts');
    let verdict = verifyHost(input, observer, reportDevices);
    while ('ask' in verdict) {
      learn(verdict.ask);
      verdict = verifyHost(input, observer, reportDevices);
    }
    const colour = request.tty.includes('1') && request.env.NO_COLOR === undefined;
    return say(options.json ? toJson(verdict) : writeVerdict(verdict, colour), verdict.ok ? 0 : 1);
  }
  if (options.action === 'gpu-plan') {
    const { reportDevices } = await import('./gpu/devices.ts');
    let report = reportLaunch(input, reportDevices);
    while (report !== null && 'ask' in report) {
      learn(report.ask);
      report = reportLaunch(input, reportDevices);
    }
    const text =
      report === null ? ['this host has no GPU that a driver knows, and none is asked for'] : writeReport(report, true);
    return say(
      options.json ? toJson(report) : `${text.join('\n')}\n`,
      report === null || report.problem === '' ? 0 : 1,
    );
  }
  let made = planLaunch(input, planDevices);
  while ('ask' in made) {
    learn(made.ask);
    made = planLaunch(input, planDevices);
  }
  const trace = talk.request.env.BUNDLER_TRACE_PLAN;
  if (trace) writeTrace(trace, request, writeLaunch(input, made.plan, observer));
  if (options.dryRun) return say(writeLaunch(input, made.plan, observer));
  if (made.plan.at(-1)?.op !== 'resume') return { kind: 'plan', plan: made.plan };
  const resumed = readResumed(talk.resume({ kind: 'plan', plan: made.plan }), options);
  const late = { ...input, resumed };
  // The mounts that hooks ask for come from paths that were not looked at yet.
  const kinds = lookAtSources(observer, late);
  input = { ...late, host: { ...input.host, kinds } };
  // Hooks may have set what asks for GPUs.
  await lookAtDevices(environmentAfter(input));
  let rest = planLaunch(input, planDevices);
  while ('ask' in rest) {
    learn(rest.ask);
    rest = planLaunch(input, planDevices);
  }
  if (trace) writeTrace(`${trace}.rest`, request, writeLaunch(input, rest.plan, observer));
  return { kind: 'plan', plan: rest.plan };
}

/** The configuration of this launch: a plain one has none, and reads nothing for it. */
async function readConfigured(
  talk: Conversation,
  observer: Observer,
  manifest: Manifest,
  request: Request,
  options: Options,
): Promise<{ configuration: Configuration; sources: SettingSources; conf: Bytes | null }> {
  let configuration = embeddedConfiguration(manifest);
  let directives: SettingSources['directives'] = {};
  const conf = options.conf === null ? null : readOptionFile(observer, request, 'conf', options.conf);
  if (options.hostConfig || conf !== null) {
    const { readHostConfiguration, evaluateLines } = await import('./host-configuration.ts');
    if (options.hostConfig) configuration = merge(configuration, readHostConfiguration(observer, request, talk.ask));
    if (conf !== null) directives = evaluateLines(parseDirectives(conf), request, talk.ask, true);
  }
  const { settings: configured, builtins } = configuration;
  return { configuration, sources: { configured, builtins, directives, env: request.env }, conf };
}

/** The launch as JSON, to be read and replayed: only variables that were looked at are in it. */
function writeLaunch(input: LaunchInput, plan: Plan, observer: Observer): Bytes {
  const known = input.request.env;
  const names = input.options.keepEnv ? Object.keys(known) : [...observer.variables].filter((name) => name in known);
  const env = Object.fromEntries(names.map((name) => [name, known[name]]));
  const looked = { paths: [...observer.paths], variables: [...observer.variables] };
  return toJson({ plan, input: { ...input, request: { ...input.request, env } }, looked });
}

function writeTrace(path: Bytes, request: Request, text: Bytes): void {
  try {
    // It shows the environment, so it is for its owner only.
    writeFileSync(toBuffer(absolutePath(path, request.cwd)), toBuffer(text), { mode: 0o600 });
  } catch (error) {
    throw new Failure(`BUNDLER_TRACE_PLAN=${path}: ${describe(error)}`);
  }
}

function readAnswers(facts: readonly Fact[], questions: readonly string[]): Record<string, Bytes> {
  const answers = facts.filter(([key]) => key === 'answer').map(([, value]) => value);
  if (answers.length !== questions.length) {
    throw new WireError(`${answers.length} answers to ${questions.length} questions`);
  }
  return Object.fromEntries(questions.map((question, index) => [question, answers[index] ?? '']));
}

function explain(error: unknown, program: Bytes): Reply {
  const fail = (stderr: Bytes): Reply => ({ kind: 'text', status: ownFailureStatus, stdout: '', stderr });
  if (!(error instanceof Failure)) {
    const story = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return fail(fromText(`bundler: this is a bug in the planner, please report it\n${story}\n`));
  }
  const hint = error.hint === '' ? '' : `  try: ${error.hint}\n`;
  const usage = error instanceof UsageFailure ? `${usageLine(program)}\n` : '';
  return fail(`bundler: ${error.message}\n${hint}${usage}`);
}

/** Byte strings stay bytes: the JSON is UTF-8 wherever they are. */
function toJson(value: unknown): Bytes {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function say(stdout: Bytes, status = 0): Reply {
  return { kind: 'text', status, stdout, stderr: '' };
}

function withNewline(text: Bytes): Bytes {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}
