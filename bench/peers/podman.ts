// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { isRoot } from '../setting.ts';
import { type Peer, withCommands } from './peer.ts';

/** podman with stores of its own, so that nothing of the machine's is touched. Rootful, as a rootless one needs an account with subordinate ids. */
export const podmanPeer: Peer = (setting) =>
  withCommands('podman run', ['podman', 'tar'], () => {
    const store = path.join(setting.work, 'podman');
    mkdirSync(store);
    const global = ['--root', `${store}/root`, '--runroot', `${store}/run`, '--tmpdir', `${store}/tmp`, '--cgroup-manager=cgroupfs', '--events-backend=none'];
    const drivers = ['overlay', 'vfs'];
    for (const driver of drivers) {
      const options = [...global, '--storage-driver', driver];
      const run = ['podman', ...options, 'run', '--rm', '--network=none', '--cgroups=disabled', '--log-driver=none', 'localhost/np', '/bin/true'];
      try {
        execFileSync('sh', ['-c', 'tar -C "$0" -cf - . | podman "$@" import -q - localhost/np', setting.root, ...options], { stdio: 'pipe' });
        const [command = '', ...args] = run;
        execFileSync(command, args, { stdio: 'pipe' });
        const tearDown = (): void => void execFileSync('podman', [...options, 'rmi', '-af'], { stdio: 'pipe' });
        return [{ name: `podman run (${isRoot ? 'rootful' : 'rootless'}, ${driver})`, argv: run, asRoot: true, tearDown }];
      } catch (error) {
        if (driver === drivers.at(-1)) throw error;
      }
    }
    return [];
  });
