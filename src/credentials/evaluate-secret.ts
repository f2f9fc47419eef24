// SPDX-License-Identifier: Apache-2.0
import { runProgram } from './run-program.ts';

/**
 * What a shell makes of a word such as `$TOKEN` or `$(aws ecr get-login-password)`, without blanks around it; null when the command fails, takes too
 * long or prints nothing. The word reaches the shell in its environment, not in its arguments, which everybody can read, and is not handed on to the
 * command. What the command says on stderr is dropped: of a password that was not meant to be evaluated it would show a part.
 */
export async function evaluateSecret(
  expression: string,
  env: Readonly<Record<string, string | undefined>>,
  timeoutMs: number,
): Promise<string | null> {
  const script =
    '_bundler_word=$BUNDLER_WORD; unset BUNDLER_WORD; eval "_bundler_word=$_bundler_word" && printf %s "$_bundler_word"';
  const ending = await runProgram(['sh', '-c', script], { env: { ...env, BUNDLER_WORD: expression }, timeoutMs });
  const text = ending.kind === 'exited' && ending.status === 0 ? ending.stdout.trim() : '';
  return text === '' ? null : text;
}
