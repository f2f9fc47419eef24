// SPDX-License-Identifier: Apache-2.0
import { absolutePath } from '../expand.ts';
import type { BuiltInHook } from './hook.ts';

/**
 * ENROOT_MOUNT_HOME: the caller's home directory, at its own place, or at /root for who comes as root. HOME of the container follows.
 * What is mounted below the home comes along: in a user namespace the kernel shows it whole or not at all.
 */
export const home: BuiltInHook = {
  name: '10-home',
  byDefault: true,
  text: "with `ENROOT_MOUNT_HOME`, mounts the caller's home directory and sets `HOME`",
  add: ({ input: { settings, request }, shadow }) => {
    if (!settings.mountHome) return {};
    const source = absolutePath(request.env.HOME || shadow.hostHome, request.cwd);
    const target = shadow.asRoot ? '/root' : source;
    const options = ['x-create=dir', 'rbind', 'rw', 'nosuid'];
    return { mounts: [{ source, target, type: '', options, pass: 0 }], environ: [`HOME=${target}`] };
  },
};
