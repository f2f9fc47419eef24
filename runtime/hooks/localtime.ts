// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { LaunchInput, Shown } from '../launch-input.ts';
import type { BuiltInHook } from './hook.ts';

export const localtime: BuiltInHook = {
  name: '10-localtime',
  byDefault: true,
  text: "takes over the host's time zone where /etc/localtime is a link",
  add: ({ input, kept }) => ({ shown: planLocaltime(input, !kept) }),
};

/**
 * The host's time zone: /etc/localtime points where the host's does, and the zone is there. keepsLink false: the zone itself
 * stands at /etc/localtime, for roots in which nothing of the image may be replaced.
 */
export function planLocaltime({ host }: LaunchInput, keepsLink: boolean): Shown[] {
  if (host.localtime === null) return [];
  const { link, zone } = host.localtime;
  if (!keepsLink) return [{ kind: 'file', path: '/etc/localtime', mode: 0o644, data: zone }];
  return [
    { kind: 'symlink', path: '/etc/localtime', mode: 0o777, data: link },
    { kind: 'file', path: posix.resolve('/etc', link), mode: 0o644, data: zone },
  ];
}
