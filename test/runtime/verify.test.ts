// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { makeProfile } from '../../runtime/apparmor.ts';
import { reportDevices } from '../../runtime/gpu/report.ts';
import { checkGpu } from '../../runtime/host-checks.ts';
import { layersQuestion } from '../../runtime/layer.ts';
import { Observer } from '../../runtime/observer.ts';
import { profileOf, type Verdict, verifyHost } from '../../runtime/verify.ts';
import { writeVerdict } from '../../runtime/verify-text.ts';
import { listFields, verdictSchema } from '../support/verdict-schema.ts';
import { type Change, makeInput } from './launch-fixture.ts';

type Files = Readonly<Record<string, string>>;

/** A host with these files and no others. */
class FakeHost extends Observer {
  readonly files: Files;
  constructor(files: Files) {
    super();
    this.files = files;
  }
  override readFile(path: string): string | null {
    return this.files[path] ?? null;
  }
  override lookAt(path: string): 'dir' | 'file' | 'missing' | 'denied' {
    return path in this.files ? 'file' : 'missing';
  }
  override list(path: string): string[] {
    const inside = Object.keys(this.files).filter((name) => name.startsWith(`${path}/`));
    return [...new Set(inside.map((name) => name.slice(path.length + 1).split('/')[0] ?? ''))];
  }
}

const ordinary: Files = {
  '/proc/version': 'Linux version 6.18.0 (x)',
  '/proc/cmdline': 'ro quiet',
  '/proc/meminfo': 'MemTotal:  8000000 kB\nMemAvailable: 4000000 kB\n',
  '/proc/self/cgroup': '0::/user.slice\n',
  '/proc/self/maps': 'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n',
  '/proc/self/mountinfo': '1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / /home rw,noexec - ext4 y rw\n',
  '/etc/os-release': 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n',
};
const allPlaces = '/home/ann/.cache/bundler ok 900000000000 ext4 exec\n';

interface Host extends Change {
  readonly files?: Files;
  readonly places?: string;
  readonly answers?: Files;
}

function judge({ files, places = allPlaces, answers = {}, ...change }: Host = {}): Verdict {
  const known: Record<string, string> = {
    [layersQuestion]: '/home/ann/.cache/bundler ok 900000000000 ext4\n',
    ...answers,
  };
  const observer = new FakeHost({ ...ordinary, ...files });
  for (;;) {
    const input = makeInput({ args: ['--verify'], ...change, host: { ...change.host, answers: known } });
    const verdict = verifyHost(input, observer, reportDevices);
    if (!('ask' in verdict)) return verdict;
    for (const question of verdict.ask) {
      if (question in known) throw new Error(`asked twice: ${question}`);
      if (question.startsWith('dir ')) known[question] = `${question.slice(6)} ok 7000000000 ext4 exec\n`;
      else known[question] = question.startsWith('places ') ? places : question === 'rungs' ? 'ptrace ok\n' : 'ok';
    }
  }
}

const find = (verdict: Verdict, id: string) => verdict.checks.find((check) => check.id === id);
const noUserns = { mount: 'skipped', fuse: 'skipped', overlay: 'skipped', 'tmpfs-xattr': 'skipped' };
const profileCommand =
  '/work/np.run --apparmor | sudo tee /etc/apparmor.d/bundler-np.run-\\w{8} > /dev/null && sudo apparmor_parser -r /etc/apparmor.d/bundler-np.run-\\w{8}';

describe('--verify on an ordinary host', () => {
  test('is all OK but for what nothing needs, and says what is used', () => {
    const verdict = judge();
    expect(verdict).toMatchObject({
      ok: true,
      name: 'np',
      result: '',
      uses: { driver: 'fuse', sandbox: 'userns', rw: { in: 'memory', place: '', sizeBytes: 4_096_000_000 } },
    });
    expect(verdict.checks.filter(({ ok }) => !ok).map(({ id }) => id)).toEqual([
      'vsyscall=native',
      'vsyscall=emulate',
      'newuidmap',
      'nvidia-container-cli',
      'loop',
    ]);
    expect(find(verdict, 'newuidmap')?.cure).toBe('sudo apt-get install uidmap');
  });

  test('fits its JSON schema, every field of which docs/verify.md describes', () => {
    verdictSchema.parse(judge());
    verdictSchema.parse(judge({ probes: { ...noUserns, userns: 'unshare 28' } }));
    const page = readFileSync(new URL('../../docs/verify.md', import.meta.url), 'utf8');
    const described = [...page.matchAll(/^\| `([^`]+)` \|/gm)].map(([, field]) => field);
    const fields = listFields();
    expect(described.filter((field) => !['uses', 'uses.rw', 'devices'].includes(field ?? ''))).toEqual(fields);
  });

  test('is text of at most 80 columns, commands excepted, plain in a pipe and coloured on a terminal', () => {
    const nothing = { fuse: 'open 13', overlay: 'mount 1', seccomp: 'filter 22', pidfd: 'open 38', openat2: 'open 38' };
    const files = { '/boot/config-6.18.0': '', '/proc/self/maps': '', '/proc/self/cgroup': '' };
    const verdict = judge({ probes: nothing, files, places: `${allPlaces}/t space 28\n` });
    const text = writeVerdict(verdict, false);
    for (const line of text.split('\n')) if (!line.startsWith('  try: ')) expect(line.length, line).toBeLessThan(81);
    expect(text).not.toContain('\x1b');
    expect(writeVerdict(verdict, true).replace(/\x1b\[\d+m/g, '')).toBe(text);
    expect(text).toMatch(/^squashfs through \/dev\/fuse {19}: KO \(required to start in place\)\n {4}\S/m);
    expect(text).toMatch(/^--rw: writes to the unpacked image: room for 899/m);
  });

  test('says where --rw writes to, and how much room there is', () => {
    const rwOf = (host: Host) => judge(host).uses?.rw;
    expect(rwOf({ args: ['-v', '--overlay', 'd'] })).toEqual({ in: 'directory', place: '/work/d', sizeBytes: 7e9 });
    expect(rwOf({ args: ['-v', '--keep'] })).toEqual({ in: 'copy', place: '/work/np', sizeBytes: 7e9 });
    const disk = { in: 'disk', place: '/home/ann/.cache/bundler', sizeBytes: 900e9 };
    expect(rwOf({ env: { BUNDLER_RW: 'disk' } })).toEqual(disk);
    expect(rwOf({ probes: { 'tmpfs-xattr': 'setxattr 95' } })).toEqual(disk);
    expect(rwOf({ env: { BUNDLER_RW_SIZE: '3G' } })).toEqual({ in: 'memory', place: '', sizeBytes: 3 * 1024 ** 3 });
    expect(rwOf({ probes: { overlay: 'mount 1' } })).toMatchObject({ in: 'copy', sizeBytes: 900e9 - 284_096_000 });
  });

  test('of the tool itself judges without an image', () => {
    const { image: _image, ...manifest } = makeInput().manifest;
    const verdict = judge({ manifest: { ...manifest, image: undefined } as never, request: { sections: [] } });
    expect(verdict).toMatchObject({ ok: true, name: null, needBytes: 0, uses: { driver: 'fuse' } });
    expect(writeVerdict(verdict, false)).toMatch(/^OK: this host runs bundles$/m);
  });
});

describe('each way in which user namespaces are denied is named, with its cure', () => {
  test.each<[string, Host, string, RegExp, RegExp]>([
    [
      'user.max_user_namespaces is 0',
      { probes: { ...noUserns, userns: 'unshare 28' }, host: { limits: limits({ maxUserNamespaces: '0' }) } },
      'userns',
      /switched off: user.max_user_namespaces is 0 \(unshare: ENOSPC\)/,
      /^sudo sysctl -w user.max_user_namespaces=15000$/,
    ],
    [
      'a seccomp filter on unshare',
      { probes: { ...noUserns, userns: 'unshare 1' }, host: { limits: limits({ seccomp: '2' }) } },
      'userns',
      /a seccomp filter, such as docker's default one, forbids user namespaces \(unshare: EPERM\)/,
      /^start the outer container with: docker run --security-opt seccomp=unconfined/,
    ],
    [
      'AppArmor at the map',
      { probes: { ...noUserns, userns: 'uid_map 1' }, host: { limits: limits({ apparmorUserns: '1' }) } },
      'userns',
      /AppArmor restricts user namespaces of programs without a profile \(uid_map: EPERM\)/,
      new RegExp(`^${profileCommand}$`),
    ],
    [
      'AppArmor at the first mount, the namespace granted',
      {
        probes: { ...noUserns, userns: 'ok', mount: 'propagation 13' },
        host: { limits: limits({ apparmorUserns: '1' }) },
      },
      'mount',
      /AppArmor restricts user namespaces of programs without a profile \(propagation: EACCES\)/,
      new RegExp(`^${profileCommand}$`),
    ],
    [
      "Debian's switch",
      { probes: { ...noUserns, userns: 'unshare 1' }, host: { limits: limits({ usernsClone: '0' }) } },
      'userns',
      /kernel.unprivileged_userns_clone is 0/,
      /^sudo sysctl -w kernel.unprivileged_userns_clone=1$/,
    ],
    [
      'a chroot',
      { probes: { ...noUserns, userns: 'unshare 1' }, host: { limits: limits({ rootIsMount: 'no' }) } },
      'userns',
      /runs in a chroot/,
      /systemd-nspawn -D DIR$/,
    ],
  ])('%s', (_title, host, id, note, cure) => {
    const verdict = judge(host);
    const check = find(verdict, id);
    expect(check?.ok).toBe(false);
    expect(check?.note).toMatch(note);
    expect(check?.cure).toMatch(cure);
    expect(writeVerdict(verdict, false)).toContain(`  try: ${check?.cure}\n`);
    expect(verdict).toMatchObject({ ok: true, uses: { sandbox: 'proot', degraded: expect.stringMatching(/slower/) } });
    expect(find(verdict, 'sandbox-chroot')).toMatchObject({ ok: false, note: 'it needs real root' });
    const stuck = judge({ ...host, answers: { rungs: 'ptrace seize 1\n' } });
    expect(stuck).toMatchObject({ ok: false, uses: null, cure: check?.cure });
    expect(stuck.result).toMatch(note);
  });

  function limits(differs: object): NonNullable<Change['host']>['limits'] & object {
    return { ...makeInput().host.limits, ...differs };
  }
});

describe('what else is KO, with its cure', () => {
  test.each<[string, Host, string, RegExp, RegExp]>([
    ['no /dev/fuse', { probes: { fuse: 'open 2' } }, 'fuse', /\/dev\/fuse is missing/, /^sudo modprobe fuse/],
    [
      'a closed /dev/fuse',
      { probes: { fuse: 'open 13' } },
      'fuse',
      /may not be opened/,
      /^sudo chmod 666 \/dev\/fuse$/,
    ],
    ['no FUSE driver', { probes: { fuse: 'open 19' } }, 'fuse', /no FUSE driver/, /^sudo modprobe fuse$/],
    ['an old kernel for overlay', { probes: { overlay: 'mount 1' } }, 'overlay', /cannot be mounted/, /5\.11/],
    ['no overlay module', { probes: { overlay: 'mount 19' } }, 'overlay', /ENODEV/, /^sudo modprobe overlay$/],
    [
      'no xattrs on tmpfs',
      { probes: { overlay: 'rmdir 5', 'tmpfs-xattr': 'setxattr 95' } },
      'overlay',
      /tmpfs keeps no user xattrs/,
      /6\.6/,
    ],
    ['no seccomp', { probes: { seccomp: 'filter 22' } }, 'seccomp', /filter: EINVAL/, /CONFIG_SECCOMP_FILTER/],
    ['no pidfd', { probes: { pidfd: 'open 38' } }, 'pidfd', /open: ENOSYS/, /5\.3/],
    ['no vsyscall page', { files: { '/proc/self/maps': '' } }, 'vsyscall', /^$/, /vsyscall=emulate/],
    [
      'a missing option of RHEL 7',
      { files: { '/etc/os-release': 'ID="rhel"\nVERSION_ID="7.9"\n' } },
      'namespace.unpriv_enable=1',
      /^$/,
      /^sudo grubby --update-kernel=ALL --args="namespace.unpriv_enable=1 user_namespace.enable=1" && sudo reboot$/,
    ],
    [
      'a kernel without FUSE',
      { files: { '/boot/config-6.18.0': 'CONFIG_USER_NS=y\n# CONFIG_FUSE_FS is not set\n' } },
      'CONFIG_FUSE_FS',
      /^$/,
      /^$/,
    ],
    [
      "AppArmor's switch",
      { files: { '/proc/sys/kernel/apparmor_restrict_unprivileged_userns': '1\n' } },
      'kernel.apparmor_restrict_unprivileged_userns',
      /^is 1$/,
      new RegExp(`^${profileCommand}$`),
    ],
    [
      'a GPU without its driver',
      {
        files: {
          '/sys/bus/pci/devices/0000:01:00.0/vendor': '0x10de\n',
          '/sys/bus/pci/devices/0000:01:00.0/class': '0x030200\n',
        },
      },
      'gpu',
      /its driver is not loaded/,
      /^sudo modprobe nvidia$/,
    ],
  ])('%s', (_title, host, id, note, cure) => {
    const verdict = judge(host);
    const check = find(verdict, id);
    expect(check).toMatchObject({ ok: false });
    expect(check?.note).toMatch(note);
    expect(check?.cure).toMatch(cure);
    expect(verdict.ok).toBe(true);
    expect(writeVerdict(verdict, false)).toMatch(new RegExp(`^${check?.name.replace(/[./]/g, '\\$&')} +: KO`, 'm'));
  });

  test.each<[string, string, string, RegExp, RegExp]>([
    [
      'noexec',
      '/home/x ok 9000000000 ext4 noexec\n',
      'ok',
      /^\/home is mounted noexec/,
      /^sudo mount -o remount,exec \/home$/,
    ],
    [
      'a module that denies exec',
      '/home/x ok 9000000000 ext4 exec\n',
      'exec 13',
      /could not be executed \(exec: EACCES\)/,
      /journalctl/,
    ],
    ['too little space', '/home/x space 28\n', 'ok', /too little space/, /^BUNDLER_CACHE_DIR=/],
    ['a quota', '/home/x quota 122\n', 'ok', /quota there is used up/, /quota -s/],
    [
      "somebody else's",
      '/tmp/a b owner 1\n',
      'ok',
      /belongs to another user/,
      /^sudo chown "\$\(id -u\)" '\/tmp\/a b'$/,
    ],
    ['open to others', '/home/x mode 1\n', 'ok', /others may write/, /^chmod go-w \/home\/x$/],
    ['a symlink', '/home/x symlink 40\n', 'ok', /it is a symlink/, /^rm \/home\/x$/],
    ['read-only', '/home/x write 30\n', 'ok', /read-only/, /^BUNDLER_CACHE_DIR=/],
  ])('a directory: %s', (_title, places, exec, note, cure) => {
    const path = places.replace(/ (ok|space|quota|owner|mode|symlink|write) .*\n/, '');
    const [place] = judge({ places, answers: { [`exec ${path}`]: exec } }).places;
    expect(place).toMatchObject({ path, ok: false });
    expect(place?.note).toMatch(note);
    expect(place?.cure).toMatch(cure);
  });

  test.each([
    [
      'ID=ubuntu\nID_LIKE=debian\n',
      /^sudo apt-get install uidmap$/,
      /^sudo sed -i .* && sudo update-grub && sudo reboot$/,
    ],
    [
      'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
      /^sudo dnf install shadow-utils$/,
      /^sudo grubby .*vsyscall=emulate/,
    ],
    ['ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', /^sudo zypper install shadow$/, /^boot with vsyscall=emulate/],
    ['ID=alpine\n', /^sudo apk add shadow-uidmap$/, /^boot with/],
    ['', /^$/, /^boot with/],
  ])('the commands are those of the distribution: %j', (release, uidmap, vsyscall) => {
    const verdict = judge({ files: { '/etc/os-release': release, '/proc/self/maps': '' } });
    expect(find(verdict, 'newuidmap')?.cure).toMatch(uidmap);
    expect(find(verdict, 'vsyscall')?.cure).toMatch(vsyscall);
  });

  test('where nothing can hold the image the result says so, with status KO', () => {
    const host = { probes: { fuse: 'open 2' }, places: '/t space 28\n', host: { memoryAvailableBytes: 1 } };
    const verdict = judge(host);
    expect(verdict).toMatchObject({
      ok: false,
      uses: null,
      result: expect.stringMatching(/^cannot unpack the image: /),
    });
    expect(writeVerdict(verdict, false)).toMatch(
      /\nResult:\n\nKO: cannot unpack the image: [\s\S]*\n {2}try: sudo modprobe fuse/,
    );
  });
});

describe('the graphics driver', () => {
  test.each([
    [
      'NVIDIA',
      'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  gcc version 12.3.0\n',
      'NVIDIA 550.54.15',
    ],
    [
      "NVIDIA's open modules",
      'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (x)\n',
      'NVIDIA 570.86.10',
    ],
  ])('%s is found with its version', (_title, text, note) => {
    expect(checkGpu(new FakeHost({ '/proc/driver/nvidia/version': text }))).toMatchObject({ ok: true, note });
  });

  test('that of WSL and that of AMD are found', () => {
    expect(checkGpu(new FakeHost({ '/dev/dxg': '' }))).toMatchObject({ ok: true, note: 'WSL (/dev/dxg)' });
    expect(checkGpu(new FakeHost({ '/dev/kfd': '' }))).toMatchObject({ ok: true, note: 'AMD (/dev/kfd)' });
  });
});

describe('--apparmor', () => {
  test('prints a profile for exactly this file, and how to load it', () => {
    const { text, name } = profileOf(makeInput().request);
    expect(text.match(/^[^#\n].*$/gm)).toEqual([
      'abi <abi/4.0>,',
      'include <tunables/global>',
      `profile ${name} "/work/np.run" flags=(unconfined) {`,
      '  userns,',
      `  include if exists <local/${name}>`,
      '}',
    ]);
    expect(text).toMatch(new RegExp(`^# {3}${profileCommand}$`, 'm'));
  });

  test('is for bundler where bundler runs the file, and for bundler itself', () => {
    const request = { ...makeInput().request, program: '/opt/bundler' };
    expect(profileOf(request).text).toMatch(/^profile bundler-bundler-\w{8} "\/opt\/bundler" /m);
    expect(profileOf(request).command).toMatch(/^\/opt\/bundler run \/work\/np.run --apparmor \| sudo tee /);
    const tool = { ...request, exe: '/opt/bundler', sections: [] };
    expect(profileOf(tool).command).toMatch(/^\/opt\/bundler doctor --apparmor \| sudo tee /);
  });

  test('names no other file, and breaks no line, whatever the name', () => {
    const odd = '/home/a b/*?[x]{y}^"\\\n@{HOME}.run';
    const { text, name, command } = makeProfile(odd, "'x' --apparmor");
    expect(text).toContain(`profile ${name} "/home/a b/???x??y???????HOME?.run" flags`);
    expect(name).toMatch(/^bundler-[\w.-]+$/);
    expect(command).not.toContain('\n');
    expect(makeProfile('/a/x', '').name).not.toBe(makeProfile('/b/x', '').name);
  });
});
