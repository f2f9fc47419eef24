// SPDX-License-Identifier: Apache-2.0

/**
 * glibc's loader reads /etc/ld.so.preload and looks in the system's library directories even when it is started with
 * --inhibit-cache and --library-path: a host could put its own ELF files into our process (an administrator's preload, an NSS
 * module of another libc). The carried copy gets other strings of the same length: no preload file, and directories below /dev,
 * where no host keeps libraries. Throws when the loader is not as expected.
 */
export function sealLoader(loader: Buffer): void {
  replaceAll(loader, '/etc/ld.so.preload\0', '/dev/null/.preload\0');
  replaceAll(
    loader,
    '/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0',
    '/dev/x86_64-linux-gnu/\0/dev/lib/x86_64-linux-gnu/\0/dev/\0/dev/lib/\0',
  );
}

function replaceAll(data: Buffer, from: string, to: string): void {
  let count = 0;
  for (let at = data.indexOf(from); at >= 0; at = data.indexOf(from, at + 1)) {
    data.write(to, at, 'latin1');
    count++;
  }
  if (count === 0) throw new Error(`seal the loader: ${JSON.stringify(from)} is not in it; is it glibc's of Debian?`);
}
