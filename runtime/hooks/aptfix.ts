// SPDX-License-Identifier: Apache-2.0
import type { BuiltInHook } from './hook.ts';

/** For who comes as root: apt must not drop to the user _apt, which a single mapped id cannot do. Only where the image is of Debian's family. */
export const aptfix: BuiltInHook = {
  name: '10-aptfix',
  byDefault: true,
  text: 'under `--root`, lets apt of Debian images download as root',
  add: ({ input: { manifest }, shadow }) => {
    if (!shadow.asRoot || !manifest.rootfs?.debian) return {};
    const data = 'APT::Sandbox::User "root";\n';
    return { shown: [{ kind: 'file', path: '/etc/apt/apt.conf.d/enroot', mode: 0o644, data }] };
  },
};
