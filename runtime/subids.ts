// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { Op } from '../src/format/plan.ts';
import { Failure } from './failure.ts';
import { readEnded, runQuestion } from './host-program.ts';
import type { Identity } from './identity.ts';
import type { LaunchInput } from './launch-input.ts';

/** What the host grants of subordinate ids: the files of subuid(5) and subgid(5), and the programs that map them ('' where missing). */
export interface Subids {
  readonly subuid: Bytes;
  readonly subgid: Bytes;
  readonly newuidmap: Bytes;
  readonly newgidmap: Bytes;
}

interface Range {
  readonly start: number;
  readonly count: number;
}

/** The kernel takes so many (user_namespaces(7)). */
const mostRanges = 340;

/**
 * The user namespace of --subuid: the caller is the identity's ids inside, and every other id from 0 on comes from the caller's
 * ranges, in their order. Asks getsubids(1) where the files have none, since a directory service may. Throws Failure with the
 * cure where a program or a range is missing, or where ranges overlap, which the kernel would refuse.
 */
export function planRanges(input: LaunchInput, identity: Identity): Op | { readonly ask: readonly string[] } {
  const { host, request } = input;
  const { newuidmap, newgidmap } = host.subids;
  if (newuidmap === '' || newgidmap === '') {
    throw new Failure(
      `--subuid needs ${newuidmap === '' ? 'newuidmap' : 'newgidmap'}, which this host does not have`,
      'sudo apt install uidmap (Fedora and RHEL: sudo dnf install shadow-utils), or leave out --subuid',
    );
  }
  const uids = findRanges(input, 'subuid');
  if ('ask' in uids) return uids;
  const gids = findRanges(input, 'subgid');
  if ('ask' in gids) return gids;
  return {
    op: 'usernsRanges',
    uidMap: layOut(identity.uid, request.euid, uids.ranges, '/etc/subuid'),
    gidMap: layOut(identity.gid, request.egid, gids.ranges, '/etc/subgid'),
    newuidmap,
    newgidmap,
  };
}

function findRanges(
  { host, request }: LaunchInput,
  kind: 'subuid' | 'subgid',
): { readonly ranges: readonly Range[] } | { readonly ask: readonly string[] } {
  const name = host.passwdLine.split(':')[0] || (request.env.USER ?? '');
  const owners = [name, String(request.euid)].filter((owner) => owner !== '');
  const listed = readRanges(host.subids[kind], /^([^:]*):(\d+):(\d+)\s*$/, owners);
  if (listed.length > 0) return { ranges: listed };
  const question = runQuestion(['getsubids', ...(kind === 'subgid' ? ['-g'] : []), owners[0] as Bytes]);
  const answer = host.answers[question];
  if (answer === undefined) return { ask: [question] };
  const ended = readEnded(answer);
  const found = ended.how === 'exit' ? readRanges(ended.stdout, /^\d+:\s+(\S+)\s+(\d+)\s+(\d+)\s*$/, owners) : [];
  if (found.length > 0) return { ranges: found };
  const option = kind === 'subuid' ? '--add-subuids' : '--add-subgids';
  throw new Failure(
    `--subuid: /etc/${kind} gives no range of ids to ${owners[0]}`,
    `sudo usermod ${option} 100000-165535 ${owners[0]} (a range that nobody else has), or leave out --subuid`,
  );
}

/** OWNER START COUNT of each line that matches and is one of the owners'. */
function readRanges(text: Bytes, pattern: RegExp, owners: readonly Bytes[]): Range[] {
  return text.split('\n').flatMap((line) => {
    const [, owner = '', start, count] = pattern.exec(line) ?? [];
    return owners.includes(owner) && Number(count) > 0 ? [{ start: Number(start), count: Number(count) }] : [];
  });
}

/** `INSIDE OUTSIDE COUNT`..: our own id first, the ranges around it. */
function layOut(inside: number, outside: number, ranges: readonly Range[], file: string): Bytes[] {
  const sorted = [{ start: outside, count: 1 }, ...ranges].sort((a, b) => a.start - b.start);
  for (const [index, { start, count }] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next !== undefined && start + count > next.start) {
      throw new Failure(
        `--subuid: the ranges of ${file} overlap at ${next.start}`,
        `mend the lines of yours in ${file}, or leave out --subuid`,
      );
    }
  }
  const map = [[inside, outside, 1]];
  let at = 0;
  for (const range of ranges) {
    let { start, count } = range;
    while (count > 0) {
      if (at === inside) at += 1;
      const size = at < inside ? Math.min(count, inside - at) : count;
      map.push([at, start, size]);
      at += size;
      start += size;
      count -= size;
    }
  }
  return map.slice(0, mostRanges).flat().map(String);
}
