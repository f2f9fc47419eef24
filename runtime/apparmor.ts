// SPDX-License-Identifier: Apache-2.0
import { type Bytes, quoteForShell, toBuffer } from '../src/format/bytes.ts';

/** An AppArmor profile that lets one program make user namespaces, as Ubuntu 23.10 and newer demand. */
export interface Profile {
  readonly name: string;
  /** Where it belongs. */
  readonly path: string;
  readonly text: Bytes;
  /** The one command that writes and loads it. */
  readonly command: Bytes;
}

/**
 * The profile of a program at an absolute path. Like those that Ubuntu ships for browsers it confines nothing: it gives the program a name, and
 * `userns` (apparmor.d(5), AppArmor 4.0). What the program executes keeps the profile, the container's command too. print: the command that
 * prints this text.
 */
export function makeProfile(program: Bytes, print: Bytes): Profile {
  const base = program.slice(program.lastIndexOf('/') + 1).replace(/[^A-Za-z0-9._-]/g, '_');
  // Two programs with one name need two profiles.
  const { createHash } = process.getBuiltinModule('node:crypto');
  const digest = createHash('sha256').update(toBuffer(program)).digest('hex').slice(0, 8);
  const name = `bundler-${base.slice(0, 60)}-${digest}`;
  const path = `/etc/apparmor.d/${name}`;
  const command = `${print} | sudo tee ${path} > /dev/null && sudo apparmor_parser -r ${path}`;
  return {
    name,
    path,
    command,
    text: `# Lets one program make user namespaces where kernel.apparmor_restrict_unprivileged_userns is 1 (AppArmor 4.0 and newer).
# It holds for this path only: print it again when the file moves. To write it to its place and load it:
#   ${command.replace(/[\x00-\x1f\x7f]/g, '?')}
# To undo that:
#   sudo apparmor_parser -R ${path}; sudo rm ${path}
abi <abi/4.0>,
include <tunables/global>

profile ${name} "${escapePath(program)}" flags=(unconfined) {
  userns,

  include if exists <local/${name}>
}
`,
  };
}

/** What AppArmor's patterns give a meaning matches as "any one character": its own escapes differ from version to version. */
function escapePath(path: Bytes): Bytes {
  return path.replace(/[\x00-\x1f\x7f*?[\]{}^\\"]/g, '?').replace(/@\?/g, '??');
}

/** The command line of these words, for a shell. */
export function printCommand(words: readonly Bytes[]): Bytes {
  return words.map(quoteForShell).join(' ');
}
