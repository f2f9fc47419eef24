// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { isRoot } from '../setting.ts';
import { type Peer, withCommands } from './peer.ts';

/** podman with stores of its own, so that nothing of the machine's is touched. Rootful, as a rootless one needs an account with subordinate ids. */
export const podmanPeer: Peer = (setting) =>
  withCommands('podman run', ['podman', 'tar'], () => {
    const problems: string[] = [];
    // podman's default limits are higher than what a confined root may set.
    const limits = ['--ulimit=nofile=1024:1024', '--ulimit=nproc=1024:1024'];
    for (const driver of ['overlay', 'vfs']) {
      const store = path.join(setting.work, `podman-${driver}`);
      mkdirSync(store);
      const places = ['--root', `${store}/root`, '--runroot', `${store}/run`, '--tmpdir', `${store}/tmp`];
      const options = [...places, '--cgroup-manager=cgroupfs', '--events-backend=none', '--storage-driver', driver];
      const run = ['podman', ...options, 'run', '--rm', '--network=none', '--log-driver=none', ...limits];
      const argv = [...run, 'localhost/np', '/bin/true'];
      // podman leaves its store mounted on itself, more than once where it was ended in between.
      const unmount = 'while umount -l "$0" 2>/dev/null; do :; done';
      const tearDown = (): void =>
        void spawnSync('sh', ['-c', unmount, `${store}/root/${driver}`], { stdio: 'ignore' });
      try {
        const script = 'tar -C "$0" -cf - . | podman "$@" import -q - localhost/np';
        execFileSync('sh', ['-c', script, setting.root, ...options], { stdio: 'pipe' });
        execFileSync('podman', argv.slice(1), { stdio: 'pipe' });
        return [{ name: `podman run (${isRoot ? 'rootful' : 'rootless'}, ${driver})`, argv, asRoot: true, tearDown }];
      } catch (error) {
        tearDown();
        problems.push(`${driver}: ${String(error).trim().split('\n').slice(-1).join('')}`);
      }
    }
    throw new Error(problems.join('; '));
  });
