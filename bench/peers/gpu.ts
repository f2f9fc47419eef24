// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import type { Peer } from './peer.ts';

/** Libraries of a driver besides libcuda and libnvidia-ml, as many as compute and utility of a real one have. */
const others =
  'cfg ptxjitcompiler nvvm opencl gpucomp fatbinaryloader allocator compiler pkcs11 pkcs11-openssl3 tileiras sandboxutils api bindless'.split(
    ' ',
  );

/** Starts on a host that seems to have a driver and a GPU: what looking for it, planning and mounting cost. */
export const gpuPeer: Peer = (setting, repository) => {
  const names = ['bundle, GPU host', 'bundle, GPU host, --gpus all'] as const;
  if (process.getuid?.() !== 0) return names.map((name) => ({ name, absent: 'a host can be pretended by root only' }));
  const driver = path.join(setting.work, 'gpu-driver');
  const file = path.join(setting.work, 'gpu.run');
  mkdirSync(driver);
  execFileSync(path.join(repository, 'test/gpu/stub/compile-stubs'), [driver], { stdio: 'pipe' });
  for (const stem of others) {
    const name = `libnvidia-${stem}.so`;
    const input = `int nothing_of_${stem.replaceAll('-', '_')};`;
    const args = [
      '-shared',
      '-fPIC',
      '-x',
      'c',
      '-',
      `-Wl,-soname,${name}.1`,
      '-o',
      path.join(driver, `${name}.999.1`),
    ];
    execFileSync('gcc', args, { input, stdio: ['pipe', 'pipe', 'inherit'] });
    symlinkSync(`${name}.999.1`, path.join(driver, `${name}.1`));
  }
  const env = {
    HOME: setting.home,
    PATH: process.env['PATH'] ?? '',
    BUNDLER_CACHE_DIR: path.join(setting.work, 'cache-make'),
  };
  execFileSync(setting.bundler, ['make', '-q', '-o', file, setting.image], { env });
  const inside = [path.join(repository, 'test/gpu/stub/pretend-host'), driver, '1'];
  return [
    { name: names[0], argv: [file, 'true'], inside },
    { name: names[1], argv: [file, '--gpus', 'all', 'true'], inside },
  ];
};
