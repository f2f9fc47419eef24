// SPDX-License-Identifier: Apache-2.0
import { runProgram } from './run-program.ts';

const timeoutMs = 30_000;

/** What a helper says. `why` is for people and has no secret. */
export type HelperAnswer =
  | { readonly kind: 'found'; readonly user: string; readonly secret: string; readonly isToken: boolean }
  | { readonly kind: 'none' }
  | { readonly kind: 'failed'; readonly why: string };

/** Asks `docker-credential-NAME get` for a server, by its protocol (docker/docker-credential-helpers): the server on stdin, JSON on stdout. */
export async function askHelper(
  name: string,
  server: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<HelperAnswer> {
  const program = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    return { kind: 'failed', why: 'the name of its credential helper cannot be one' };
  }
  const ending = await runProgram([program, 'get'], { env, input: server, timeoutMs });
  switch (ending.kind) {
    case 'missing':
      return { kind: 'failed', why: `${program} is not in PATH` };
    case 'timed-out':
      return { kind: 'failed', why: `${program} did not answer within ${timeoutMs / 1000} s` };
    case 'said-too-much':
    case 'killed':
      return { kind: 'failed', why: `${program} broke down` };
  }
  // On failure the reason is on stdout; anything but the one that is expected could be anything.
  if (ending.status !== 0) {
    return /credentials not found|no credentials/i.test(ending.stdout)
      ? { kind: 'none' }
      : { kind: 'failed', why: `${program} ended with status ${ending.status}` };
  }
  return readAnswer(ending.stdout) ?? { kind: 'failed', why: `${program} answered something else than credentials` };
}

function readAnswer(text: string): HelperAnswer | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  const { Username: user, Secret: secret } = (json ?? {}) as { Username?: unknown; Secret?: unknown };
  if (typeof user !== 'string' || typeof secret !== 'string') return null;
  if (secret === '') return { kind: 'none' };
  const isToken = user === '<token>';
  return { kind: 'found', user: isToken ? '' : user, secret, isToken };
}
