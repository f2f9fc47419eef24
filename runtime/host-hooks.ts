// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../src/format/bytes.ts';
import { isOff } from '../src/format/enroot-conf.ts';
import type { Op } from '../src/format/plan.ts';
import type { Fact } from '../src/format/wire.ts';
import { confFiles, type HookCall, readFunctionBody, readNulEnvironment, writeDriver } from './conf-script.ts';
import { filesOf } from './configuration.ts';
import { givenEnvironment } from './environment.ts';
import { absolutePath } from './expand.ts';
import { Failure } from './failure.ts';
import { commonLibrary } from './hook-library.ts';
import { mountCommand } from './hook-mounts.ts';
import { callersPath } from './host.ts';
import type { LaunchInput, Resumed } from './launch-input.ts';
import type { Options } from './options.ts';

/** The version of enroot whose hooks are understood. */
const enrootVersion = '4.1.2';
const environFile = 'run/environment';
const mountsFile = 'run/fstab';
const libraryPath = 'run/lib';
const programPath = 'run/bin';
const stagedConfiguration = { system: 'run/etc/system', user: 'run/etc/user' } as const;

/** What prepares the hooks, runs them, and asks for the rest of the plan. added: `K=V` of the built-in hooks, which ran before. */
export function planHostHooks(input: LaunchInput, added: readonly Bytes[]): Op[] {
  const { configuration, options, host, request } = input;
  const calls = filesOf(configuration, 'hooks.d').map(
    ({ path, from, hostPath }): HookCall => ({
      name: posix.basename(path),
      path: hostPath || `${stagedConfiguration[from]}/${path}`,
      staged: hostPath === '',
    }),
  );
  const { base, asked } = givenEnvironment(input);
  const stage = (path: Bytes, content: Bytes, mode = 0o600): Op => ({ op: 'stage', path, mode, content });
  const staged = [
    ...configuration.files.flatMap(({ from, path, mode, content, hostPath }) =>
      hostPath === '' ? [stage(`${stagedConfiguration[from]}/${path}`, content, mode | 0o600)] : [],
    ),
    stage(mountsFile, ''),
    stage(`${libraryPath}/common.sh`, commonLibrary, 0o644),
    stage(`${programPath}/enroot-mount`, mountCommand, 0o700),
  ];
  const hook = (name: Bytes, argv: readonly Bytes[], paths: readonly Bytes[] = []): Op => ({
    op: 'hook',
    name,
    argv,
    env: hookEnvironment(input),
    paths: [...hookPaths(input), ...paths],
    search: '',
    output: '',
  });
  if (options.conf === null) {
    return [
      ...staged,
      stage(environFile, writeLines([...base, ...asked, ...added])),
      ...calls.map(({ name, path }) => hook(name, [path])),
      { op: 'resume', files: [environFile, mountsFile] },
    ];
  }
  if (host.shell === '') {
    throw new Failure(
      '--conf takes a shell on the host, and there is neither bash nor sh',
      'install one, or leave out --conf',
    );
  }
  const script = absolutePath(options.conf, request.cwd);
  // What --conf <(..) names is read to its end.
  const isFile = callersPath(script, request.pid) === script;
  return [
    ...staged,
    stage(environFile, writeLines(base)),
    stage(confFiles.asked, writeLines([...asked, ...added])),
    stage(confFiles.driver, writeDriver(host.shell, isFile ? script : null, calls), 0o700),
    ...(isFile ? [] : [stage(confFiles.script, host.files[options.conf] ?? '')]),
    hook(posix.basename(script), [confFiles.driver, ...options.command], ['BUNDLER_STAGE=.']),
    { op: 'resume', files: [environFile, mountsFile, confFiles.mounts, confFiles.rc, confFiles.env] },
  ];
}

/** Reads the facts that follow `resume`. */
export function readResumed(facts: readonly Fact[], options: Options): Resumed {
  const files = new Map(facts.map(([key, value]) => [key.replace(/^file\./, ''), value]));
  const rc = files.get(confFiles.rc);
  return {
    environ: files.get(environFile) ?? '',
    mounts: files.get(mountsFile) ?? '',
    conf:
      options.conf === null
        ? null
        : {
            mounts: files.get(confFiles.mounts) ?? '',
            rc: rc === undefined ? null : readFunctionBody(rc),
            env: readNulEnvironment(files.get(confFiles.env) ?? ''),
          },
  };
}

/** The caller's environment with the settings, as enroot exports them: one that is off is not set. */
function hookEnvironment({ request, settings }: LaunchInput): Bytes[] {
  const vars = { ...settings.configured, ...request.env, ...settings.overrides, ENROOT_VERSION: enrootVersion };
  const own = ['PATH', 'BUNDLER_DRIVER', 'BUNDLER_SANDBOX', 'BUNDLER_TRACE_PLAN'];
  const flags = {
    ENROOT_PID: String(request.pid),
    ...(settings.root ? { ENROOT_REMAP_ROOT: 'y' } : {}),
    ...(settings.rw ? { ENROOT_ROOTFS_WRITABLE: 'y' } : {}),
  };
  return Object.entries({ ...vars, ...flags })
    .filter(([name, value]) => !own.includes(name) && !(name.startsWith('ENROOT_') && isOff(value)))
    .map(([name, value]) => `${name}=${value}`);
}

/** Places that only the launcher knows, as enroot names them to hooks. */
function hookPaths({ options, request }: LaunchInput): Bytes[] {
  return [
    ...(request.env.ENROOT_LIBRARY_PATH ? [] : [`ENROOT_LIBRARY_PATH=${libraryPath}`]),
    'ENROOT_ROOTFS=root',
    `ENROOT_ENVIRON=${environFile}`,
    `ENROOT_MOUNTS=${mountsFile}`,
    'ENROOT_RUNTIME_PATH=run',
    `PATH=${programPath}:${request.env.PATH ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'}`,
    // With --host-config the hooks are the host's own and look for their neighbours there.
    ...(options.hostConfig
      ? []
      : [`ENROOT_SYSCONF_PATH=${stagedConfiguration.system}`, `ENROOT_CONFIG_PATH=${stagedConfiguration.user}`]),
  ];
}

/** The lines of a file; a value that has a line break cannot be in it. */
function writeLines(items: readonly Bytes[]): Bytes {
  return items
    .filter((item) => !item.includes('\n'))
    .map((item) => `${item}\n`)
    .join('');
}
