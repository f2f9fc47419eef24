// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { posix } from 'node:path';
import { type Bytes, fromText, toBuffer } from '../src/format/bytes.ts';
import type { Manifest } from '../src/format/manifest.ts';
import type { Plan } from '../src/format/plan.ts';
import { type Fact, type Reply, WireError } from '../src/format/wire.ts';
import { readFacts, writeReply } from './channel.ts';
import { absolutePath } from './expand.ts';
import { Failure, ownFailureStatus, UsageFailure } from './failure.ts';
import { usageLine, writeHelp } from './help.ts';
import { describe, readHost } from './host.ts';
import { describeBundle, writeInfo } from './info.ts';
import type { LaunchInput } from './launch-input.ts';
import { readManifest } from './manifest.ts';
import { Observer } from './observer.ts';
import { type Options, parseOptions } from './options.ts';
import { imageOf, placesQuestion } from './payload.ts';
import { planLaunch } from './plan-launch.ts';
import { type Request, readRequest } from './request.ts';
import { readSettings, settingsFrom } from './settings.ts';
import { verifyHost, writeVerdict } from './verify.ts';

/** One conversation with the launcher: a request in, one text or plan out, with questions in between. */
export async function servePlanner(input: number, output: number): Promise<void> {
  let program = 'bundle.run';
  let reply: Reply;
  try {
    const { request, manifest } = readRequest(readFacts(input));
    program = posix.basename(request.argv[0] ?? '') || program;
    const ask = (questions: readonly string[]) => {
      writeReply(output, { kind: 'ask', questions });
      return readAnswers(readFacts(input), questions);
    };
    reply = await answer({ request, program, readProbes: () => readFacts(input), ask }, manifest);
  } catch (error) {
    reply = explain(error, program);
  }
  writeReply(output, reply);
}

interface Conversation {
  readonly request: Request;
  readonly program: Bytes;
  readonly readProbes: () => Fact[];
  readonly ask: (questions: readonly string[]) => Record<string, Bytes>;
}

async function answer(talk: Conversation, manifestBytes: Bytes): Promise<Reply> {
  const observer = new Observer();
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
    case 'clear-cache':
      talk.readProbes();
      return say(withNewline(talk.ask(['clear-cache'])['clear-cache'] ?? ''));
    default:
      return launch(talk, observer, manifest, request, options);
  }
}

function launch(talk: Conversation, observer: Observer, manifest: Manifest, request: Request, options: Options): Reply {
  const settings = readSettings(settingsFrom(request.env), options);
  const host = readHost(observer, manifest, request, options, settings, talk.readProbes());
  let input: LaunchInput = { manifest, request, options, settings, host };
  const learn = (questions: readonly string[]) => {
    input = { ...input, host: { ...input.host, answers: { ...input.host.answers, ...talk.ask(questions) } } };
  };
  if (options.action === 'verify') {
    learn([placesQuestion(imageOf(input))]);
    const verdict = verifyHost(input, observer);
    const colour = request.tty.includes('1') && request.env.NO_COLOR === undefined;
    return say(options.json ? toJson(verdict) : writeVerdict(verdict, colour), verdict.ok ? 0 : 1);
  }
  let made = planLaunch(input);
  while ('ask' in made) {
    learn(made.ask);
    made = planLaunch(input);
  }
  const trace = talk.request.env.BUNDLER_TRACE_PLAN;
  if (trace) writeTrace(trace, request, writeLaunch(input, made.plan, observer));
  return options.dryRun ? say(writeLaunch(input, made.plan, observer)) : { kind: 'plan', plan: made.plan };
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
