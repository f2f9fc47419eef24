// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { Failure } from '../failure.ts';
import { evaluateSecret } from './evaluate-secret.ts';
import { namesOf, trustedRealms, withoutPort } from './hosts.ts';
import { type NetrcEntry, parseNetrc } from './parse-netrc.ts';
import { readPrivateFile } from './read-private-file.ts';
import {
  type Answer,
  type CredentialSource,
  type Question,
  type Surroundings,
  servesUser,
  showPath,
} from './source.ts';

const commandTimeoutMs = 120_000;

/** enroot's file of credentials (its doc/cmd/import.md): `.credentials` of a directory, in netrc form. */
export function createNetrcSource(directory: string, { env, home, warn }: Surroundings): CredentialSource {
  const path = join(directory, '.credentials');
  const place = `file ${showPath(path, home)}`;
  return {
    async find(question): Promise<Answer> {
      const file = await readPrivateFile(path);
      if (file.kind === 'absent') return { why: `${place}: there is none` };
      if (file.kind === 'unreadable') {
        warn(`${place} is left out: ${file.why}`);
        return { why: `${place}: ${file.why}` };
      }
      if (file.isReadableByOthers) {
        warn(`${place} can be read by others: chmod 600 ${showPath(path, home)}`);
      }
      const { entries, faults } = parseNetrc(file.text);
      for (const fault of faults) warn(`${place}, ${fault}`);
      const entry = choose(entries, question);
      if ('why' in entry) return { why: `${place}: ${entry.why}` };
      const source = `${place}, ${entry.machine === '' ? 'default' : `machine ${entry.machine}`}`;
      const password = entry.password ?? '';
      if (entry.isExpression && file.isWritableByOthers) {
        throw new Failure(
          `cannot use the password of ${source}: it is a command or a variable, and others can change the file`,
          {
            hint: `chmod go-w ${showPath(path, home)} ${showPath(directory, home)}, both of them yours`,
          },
        );
      }
      const secret = entry.isExpression ? await evaluateSecret(password, env, commandTimeoutMs) : password;
      if (secret === null) {
        throw new Failure(`cannot use the password of ${source}: evaluating it failed or gave nothing`, {
          hint: 'run its command by hand; a password that only begins with $ is written in double quotes',
        });
      }
      return { source, user: entry.login || question.user, secret, kind: 'password' };
    },
  };
}

function choose(entries: readonly NetrcEntry[], question: Question): NetrcEntry | { why: string } {
  const { registry, user, realmHost } = question;
  const usable = entries.filter(({ password }) => password !== null);
  const names = [...namesOf(registry), ...trustedRealms(registry, realmHost)];
  for (const name of [...names, '']) {
    const found = usable.filter(({ machine, login }) => machine === name && servesUser(login, user));
    const best = found.find(({ login }) => login === user) ?? found[0];
    if (best !== undefined) return best;
  }
  const others = entries.filter(({ machine }) => names.includes(machine));
  if (others.some(({ login }) => !servesUser(login, user))) {
    return { why: `machine ${names[0]} has no login ${user}` };
  }
  if (others.length > 0) return { why: `machine ${others[0]?.machine} has no password` };
  const realm = withoutPort(realmHost);
  if (realm !== '' && entries.some(({ machine }) => machine === realmHost || machine === realm)) {
    return { why: `no machine ${registry}; the one for its token server ${realm} alone does not serve it` };
  }
  return { why: `no machine ${names[0]}` };
}
