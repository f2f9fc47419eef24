// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { quoteForShell } from '../src/format/bytes.ts';

/** Staged files that the driver of a --conf script reads and writes, below the launcher's staging directory. */
export const confFiles = {
  driver: 'run/conf',
  script: 'run/conf.script',
  asked: 'run/conf.asked',
  environ: 'run/conf.environ',
  mounts: 'run/conf.mounts',
  rc: 'run/conf.rc',
  env: 'run/conf.env',
} as const;

/** A hook of the host as the driver starts it: its name for messages, and its path, or its place below the staging directory. */
export interface HookCall {
  readonly name: Bytes;
  readonly path: Bytes;
  readonly staged: boolean;
}

/**
 * The script that sources a --conf script and does in enroot's order what its functions and the hooks say (enroot, runtime::_start), all in one
 * shell, so that what the script sets or exports holds for the rest. shell: bash, or sh where there is none. It gets the
 * command's arguments; script: its path, or null where it is staged; BUNDLER_STAGE names the staging directory. Its names begin with `_bundler_` to stay out of the script's way.
 */
export function writeDriver(shell: Bytes, script: Bytes | null, hooks: readonly HookCall[]): Bytes {
  const calls = hooks.map(({ name, path, staged }) => {
    const place = staged ? `"$_bundler_stage/"${quoteForShell(path)}` : quoteForShell(path);
    return `_bundler_hook ${quoteForShell(name)} ${place}`;
  });
  return `#!${shell}
set -eu
_bundler_stage=\${BUNDLER_STAGE%/.}
unset BUNDLER_STAGE
# Our own programs are for hooks; environ() may well print all variables.
PATH=\${PATH#"$_bundler_stage/run/bin:"}
if [ -n "\${BASH_VERSION-}" ]; then
  set -o pipefail
  shopt -s lastpipe
fi
_bundler_defined() {
  if [ -n "\${BASH_VERSION-}" ]; then declare -F "$1" > /dev/null; else case $(command -V "$1" 2> /dev/null) in *function*) ;; *) return 1 ;; esac; fi
}
_bundler_blank="$(printf ' \\t')"
# Formats lines as enroot does: no blanks in front, only NAME=.., one pair of quotes less.
_bundler_format() {
  while IFS= read -r _bundler_line || [ -n "$_bundler_line" ]; do
    _bundler_line="\${_bundler_line#"\${_bundler_line%%[!$_bundler_blank]*}"}"
    case $_bundler_line in ENROOT_* | '' | '#'*) continue ;; *=*) ;; *) continue ;; esac
    case \${_bundler_line%%=*} in '' | [0-9]* | *[!A-Za-z0-9_]*) continue ;; esac
    case \${_bundler_line#*=} in
      [\\"\\']*[\\"\\']) _bundler_value=\${_bundler_line#*=?}; printf '%s=%s\\n' "\${_bundler_line%%=*}" "\${_bundler_value%?}" ;;
      *) printf '%s\\n' "$_bundler_line" ;;
    esac
  done
}
_bundler_copy() {
  while IFS= read -r _bundler_line || [ -n "$_bundler_line" ]; do printf '%s\\n' "$_bundler_line"; done
}
_bundler_hook() {
  "$2" > /dev/null || {
    _bundler_status=$?
    printf 'bundler: the hook %s ended with status %s\\n' "$1" "$_bundler_status" >&2
    exit 125
  }
}
. ${script === null ? `"$_bundler_stage/${confFiles.script}"` : quoteForShell(script)}
env -0 > "$_bundler_stage/${confFiles.env}" || :
if _bundler_defined environ; then
  environ > "$_bundler_stage/${confFiles.environ}"
  _bundler_format < "$_bundler_stage/${confFiles.environ}" >> "$ENROOT_ENVIRON"
fi
_bundler_copy < "$_bundler_stage/${confFiles.asked}" >> "$ENROOT_ENVIRON"
PATH=$_bundler_stage/run/bin:$PATH
${calls.join('\n')}
if _bundler_defined hooks; then hooks > /dev/null; fi
if _bundler_defined mounts; then mounts > "$_bundler_stage/${confFiles.mounts}"; fi
if _bundler_defined rc; then
  if [ -z "\${BASH_VERSION-}" ]; then
    echo "bundler: the function rc() of a --conf script takes bash on the host" >&2
    exit 125
  fi
  declare -f rc > "$_bundler_stage/${confFiles.rc}"
fi
`;
}

/** The body of a function as \`declare -f\` prints it: its head's two lines and its last are left out, as enroot does. */
export function readFunctionBody(text: Bytes): Bytes {
  return `${text.replace(/\n$/, '').split('\n').slice(2, -1).join('\n')}\n`;
}

/** The output of `env -0`. */
export function readNulEnvironment(text: Bytes): Record<string, Bytes> {
  const env: Record<string, Bytes> = Object.create(null);
  for (const item of text.split('\0')) {
    const at = item.indexOf('=');
    if (at > 0) env[item.slice(0, at)] = item.slice(at + 1);
  }
  return env;
}
