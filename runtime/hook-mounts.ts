// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { Fact, Reply } from '../src/format/wire.ts';
import { Failure } from './failure.ts';
import { parseFstab, toMountOp } from './fstab.ts';

/** Where the command enroot-mount puts what it is asked for, below the launcher's staging directory: root, pass, directory, then fstab lines. */
const requestFile = 'run/mount/text';

/**
 * The command that hooks call to mount something at once, for hosts without enroot: it hands its lines to the launcher (docs/plan.md, Hooks).
 * ENROOT_RUNTIME_PATH names the directory with the pipes.
 */
export const mountCommand: Bytes = String.raw`#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# enroot-mount [--root DIR] [--pass N] FSTAB|-, by bundler: the launcher mounts.
root=/ pass=0
while [ $# -gt 1 ]; do
  case $1 in
  --root) root=$2 ;;
  --pass) pass=$2 ;;
  *) break ;;
  esac
  shift 2
done
if [ $# -ne 1 ]; then
  echo "Usage: enroot-mount [--root DIR] [--pass N] FSTAB|-" >&2
  exit 1
fi
[ "$1" = - ] || exec < "$1" || exit 1
pipes=$ENROOT_RUNTIME_PATH/mount
{
  printf '%s\n' "$root" "$pass" "$PWD"
  while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line"; done
} > "$pipes/text" || exit 1
echo > "$pipes/request"
read -r status < "$pipes/reply"
exit "$status"
`;

/** Is it a request of a hook that still runs, or what comes when all have run? */
export function isMountRequest(facts: readonly Fact[]): boolean {
  return facts.some(([key]) => key === `file.${requestFile}`);
}

/** The mounts that a hook asks for, or what is wrong with them. */
export function answerMountRequest(facts: readonly Fact[]): Reply {
  const known = new Map(facts);
  const [root = '/', passText = '0', cwd = '', ...lines] = (known.get(`file.${requestFile}`) ?? '').split('\n');
  const containerRoot = known.get('root') ?? '';
  try {
    const entries = parseFstab(lines.join('\n'), 'enroot-mount').filter(({ pass }) => String(pass) === passText);
    return {
      kind: 'plan',
      plan: entries.map((entry) => {
        const target = findTarget(root, entry.target, containerRoot);
        return toMountOp({ ...entry, target }, cwd);
      }),
    };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { kind: 'text', status: 1, stdout: '', stderr: `enroot-mount: ${error.message}\n` };
  }
}

/** The target inside the container. Hooks mount there and nowhere else. */
function findTarget(root: Bytes, target: Bytes, containerRoot: Bytes): Bytes {
  const trimmed = root.replace(/(.)\/+$/, '$1');
  if (trimmed === containerRoot) return target;
  if (trimmed === '/' && target === containerRoot) return '/';
  if (trimmed === '/' && target.startsWith(`${containerRoot}/`)) return target.slice(containerRoot.length);
  throw new Failure(`cannot mount on ${target}: it is not in the container; give --root "\${ENROOT_ROOTFS}"`);
}
