// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseOptions } from '../../runtime/options.ts';
import { readSettings, type SettingSources, type Settings, settingsFrom } from '../../runtime/settings.ts';

function settingsOf(args: string[], env: Record<string, string> = {}, more: Partial<SettingSources> = {}): Settings {
  return readSettings({ ...settingsFrom(env), ...more }, parseOptions(args));
}

describe('settings', () => {
  test.each<[string, (settings: Settings) => boolean]>([
    ['ENROOT_ROOTFS_WRITABLE', ({ rw }) => rw],
    ['ENROOT_REMAP_ROOT', ({ root }) => root],
    ['ENROOT_LOGIN_SHELL', ({ loginShell }) => loginShell],
    ['ENROOT_ALLOW_SUPERUSER', ({ allowSuperuser }) => allowSuperuser],
    ['ENROOT_UNSHARE_PID', ({ unshare }) => unshare.pid],
    ['ENROOT_UNSHARE_NET', ({ unshare }) => unshare.net],
    ['ENROOT_UNSHARE_IPC', ({ unshare }) => unshare.ipc],
    ['ENROOT_UNSHARE_UTS', ({ unshare }) => unshare.uts],
    ['ENROOT_MOUNT_HOME', ({ mountHome }) => mountHome],
    ['ENROOT_RESTRICT_DEV', ({ restrictDev }) => restrictDev],
  ])('%s is off by default and by each of enroot’s spellings, and on by everything else', (name, get) => {
    expect(get(settingsOf([]))).toBe(false);
    for (const value of ['', 'n', 'no', 'N', 'NO', 'No', 'f', 'F', 'false', 'False', 'FALSE']) {
      expect(get(settingsOf([], { [name]: value })), value).toBe(false);
    }
    for (const value of ['y', 'yes', 'true', '1', '0', 'on']) {
      expect(get(settingsOf([], { [name]: value })), value).toBe(true);
    }
  });

  test('come, from weak to strong, from configuration, the caller, the directives of --conf, and --env', () => {
    const name = 'ENROOT_MOUNT_HOME';
    const configured = { [name]: 'yes' };
    expect(settingsOf([], {}, { configured }).mountHome).toBe(true);
    expect(settingsOf([], { [name]: 'no' }, { configured }).mountHome).toBe(false);
    expect(settingsOf([], { [name]: 'no' }, { configured, directives: { [name]: 'y' } }).mountHome).toBe(true);
    const all = { configured, directives: { [name]: 'y' } };
    expect(settingsOf(['--env', `${name}=no`], { [name]: 'y' }, all).mountHome).toBe(false);
  });

  test('of --env without a value are the caller’s', () => {
    expect(settingsOf(['--env', 'ENROOT_REMAP_ROOT'], { ENROOT_REMAP_ROOT: 'yes' }).root).toBe(true);
    expect(settingsOf(['--env', 'ENROOT_REMAP_ROOT']).root).toBe(false);
  });
});
