// SPDX-License-Identifier: Apache-2.0
// A Debian root filesystem with a package manager, made of this machine's own programs, so that no mirror is needed.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { repository } from './programs.ts';

/** What dpkg and the scripts of packages call. */
const programs =
  'dash bash dpkg dpkg-deb dpkg-split dpkg-query dpkg-statoverride dpkg-divert update-alternatives tar gzip sed grep diff find ' +
  'chown chgrp chmod cp mv ln ls cat stat id mkdir rm rmdir touch install sort readlink mktemp env true false echo test whoami ' +
  'head tail wc tr cut setpriv su chroot useradd userdel usermod groupadd groupdel groupmod start-stop-daemon ldconfig nologin';

const places = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'];

function findProgram(name: string): string {
  const found = places.map((dir) => path.join(dir, name)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`this machine has no ${name}: apt-get install dpkg passwd util-linux`);
  return found;
}

/** The libraries that programs need, as ldd(1) names them. */
function listLibraries(files: readonly string[]): string[] {
  const found = new Set<string>();
  for (const file of files) {
    try {
      const shown = execFileSync('ldd', [file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      for (const [, library] of shown.matchAll(/(?:=> )?(\/\S+) \(0x/g)) if (library !== undefined) found.add(library);
    } catch {
      // a script or a static program
    }
  }
  return [...found];
}

function fill(root: string, files: readonly string[]): void {
  for (const dir of [
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'usr/lib64',
    'etc/default',
    'proc',
    'sys',
    'dev',
    'tmp',
    'root',
    'home',
    'mnt',
  ])
    mkdirSync(path.join(root, dir), { recursive: true });
  for (const dir of ['info', 'updates', 'triggers', 'alternatives'])
    mkdirSync(path.join(root, 'var/lib/dpkg', dir), { recursive: true });
  for (const dir of ['var/log', 'var/cache', 'run', 'etc/alternatives', 'etc/skel'])
    mkdirSync(path.join(root, dir), { recursive: true });
  for (const dir of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${dir}`, path.join(root, dir));
  for (const file of [...files, ...listLibraries(files)]) {
    const at = path.join(root, file.startsWith('/usr/') ? file : `/usr${file}`);
    mkdirSync(path.dirname(at), { recursive: true });
    cpSync(realpathSync(file), at);
  }
  symlinkSync('dash', path.join(root, 'usr/bin/sh'));
  const write = (name: string, text: string, mode = 0o644, group = 0) => {
    writeFileSync(path.join(root, name), text);
    chownSync(path.join(root, name), 0, group);
    chmodSync(path.join(root, name), mode);
  };
  for (const name of ['status', 'available', 'diversions', 'statoverride']) write(`var/lib/dpkg/${name}`, '');
  write('etc/passwd', 'root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n');
  write('etc/group', 'root:x:0:\ndaemon:x:1:\nadm:x:4:\n');
  write('etc/shadow', 'root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n', 0o640, 42);
  write('etc/gshadow', 'root:*::\ndaemon:*::\nadm:*::\n', 0o640, 42);
  write('etc/debian_version', readFileSync('/etc/debian_version', 'utf8'));
  write('etc/os-release', 'ID=debian\n');
  write('etc/login.defs', existsSync('/etc/login.defs') ? readFileSync('/etc/login.defs', 'utf8') : '');
  write('etc/ld.so.conf', '/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n/usr/lib/aarch64-linux-gnu\n');
}

/** The image, made once for the programs that this machine has. Its owners are real ones: shadow belongs to a group. */
export function makeDebianImage(): string {
  const files = programs.split(' ').map(findProgram);
  const hash = createHash('sha256').update(readFileSync(import.meta.filename));
  for (const file of files) hash.update(readFileSync(file));
  const image = path.join(repository, 'build/test', `debian-${hash.digest('hex').slice(0, 12)}.sqsh`);
  if (existsSync(image)) return image;
  mkdirSync(path.dirname(image), { recursive: true });
  const dir = mkdtempSync(path.join(tmpdir(), 'bundler-debian-'));
  const mask = process.umask(0o022);
  try {
    const root = path.join(dir, 'root');
    mkdirSync(root);
    fill(root, files);
    const temporary = `${image}.${process.pid}`;
    const compressor = ['-comp', 'zstd', '-Xcompression-level', '1'];
    execFileSync('mksquashfs', [root, temporary, '-noappend', '-no-progress', '-quiet', ...compressor], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    renameSync(temporary, image);
  } finally {
    process.umask(mask);
    rmSync(dir, { recursive: true, force: true });
  }
  return image;
}

/** A package whose files belong to others, and whose scripts make a user, give it files, and drop to it. */
export function makePackage(dir: string): string {
  const root = path.join(dir, 'thing');
  const write = (name: string, text: string, mode = 0o644) => {
    const file = path.join(root, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
    chmodSync(file, mode);
  };
  write(
    'DEBIAN/control',
    'Package: thing\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a daemon with a user of its own\n',
  );
  write('DEBIAN/conffiles', '/etc/thing.conf\n');
  write(
    'DEBIAN/postinst',
    `#!/bin/sh
set -e
groupadd --system thing
useradd --system --gid thing --home-dir /var/lib/thing --shell /usr/sbin/nologin thing
chown -R thing:thing /var/lib/thing
chown root:thing /etc/thing.conf
chgrp -h adm /usr/share/thing/link
install -d -o thing -g thing -m 0700 /var/cache/thing
setpriv --reuid=thing --regid=thing --init-groups sh -c 'echo made > /var/lib/thing/made'
start-stop-daemon --start --chuid thing:thing --exec /bin/true
echo configured
`,
    0o755,
  );
  write('DEBIAN/postrm', '#!/bin/sh\nset -e\n[ "$1" = purge ] && userdel thing\nexit 0\n', 0o755);
  write('usr/bin/thing', '#!/bin/sh\necho thing\n', 0o4755);
  write('etc/thing.conf', 'secret\n', 0o640);
  write('var/lib/thing/data', 'data\n', 0o600);
  write('usr/share/thing/file', 'file\n');
  symlinkSync('file', path.join(root, 'usr/share/thing/link'));
  execFileSync('chown', ['-R', '4321:4322', path.join(root, 'var/lib/thing')]);
  const file = path.join(dir, 'thing.deb');
  execFileSync('dpkg-deb', ['--build', root, file], { stdio: 'pipe' });
  return file;
}
