// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { bundler, makeBundle } from '../support/bundle.ts';
import { Cgroup } from '../support/cgroup.ts';
import { testNeeding } from '../support/features.ts';
import { type GpuHostOptions, type GpuImage, gpuImage, runOnGpuHost } from '../support/gpu-host.ts';
import { compileProgram, repository } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';

const e2e = testNeeding('root', 'bundler', 'userns', 'fuse', 'mksquashfs', 'busybox');
const uuid = (n: number) => `GPU-00000000-0000-4000-8000-00000000000${n}`;
const line = (index: number, n: number) => `GPU ${index}: Stub GPU (UUID: ${uuid(n)})\n`;
const bundle = (image: GpuImage, ...make: string[]) => makeBundle(gpuImage(image) as `/${string}`, ...make);

/** Runs a script in the container of an image, on a host with two GPUs. */
function inside(image: GpuImage, args: readonly string[], script: string, options: GpuHostOptions = {}) {
  return runOnGpuHost([bundle(image), ...args, 'sh', '-c', script], options);
}

describe('a bundle on a host with a driver and nothing of NVIDIA besides', () => {
  for (const image of ['debian', 'rhel'] as const) {
    e2e(`runs nvidia-smi and CUDA, and ldconfig -p tells of it: ${image}`, async () => {
      const script = 'nvidia-smi -L; gpu-check vectoradd; ldconfig -p | grep -c libcuda.so.1';
      const ran = await inside(image, ['--gpus', 'all'], script);
      expect(ran).toMatchObject({ status: 0, stderr: '' });
      expect(ran.stdout).toBe(`${line(0, 0)}${line(1, 1)}vectoradd: 1048576 sums are right\n1\n`);
    });
  }

  e2e('runs them in an image without a shell and without a cache of the loader', async () => {
    const file = bundle('distroless');
    expect(await runOnGpuHost([file, '--gpus', 'all', 'nvidia-smi', '-L'])).toMatchObject({
      status: 0,
      stdout: line(0, 0) + line(1, 1),
      stderr: '',
    });
    const checked = await runOnGpuHost([file, '--gpus', 'all', 'gpu-check', 'managed']);
    expect(checked).toMatchObject({ status: 0, stderr: '' });
  });

  const ways: Record<string, [readonly string[], Record<string, string>]> = {
    '--rw': [['--rw'], {}],
    '--root': [['--root'], {}],
    'namespaces of its own': [['--pid', '--ipc', '--net', '--uts'], {}],
    ENROOT_RESTRICT_DEV: [[], { ENROOT_RESTRICT_DEV: 'y' }],
    'an unpacked image': [[], { BUNDLER_DRIVER: 'extract' }],
    proot: [[], { BUNDLER_SANDBOX: 'proot' }],
  };
  for (const [how, [args, env]] of Object.entries(ways)) {
    e2e(`has one GPU of two, and no trace of the other, with ${how}`, async () => {
      const script = 'nvidia-smi -L; gpu-check list; ls /dev | grep "^nvidia[0-9]"; ldconfig -p | grep -c libcuda.so.1';
      const ran = await inside('debian', ['--gpus', '1', ...args], script, { env });
      // The pretended host covers a part of /proc, for which the kernel refuses a new one.
      expect([ran.status, ran.stderr.replace(/^bundler: this host covers \/proc\/driver, .*\n/, '')]).toEqual([0, '']);
      expect(ran.stdout).toBe(`${line(0, 1)}${line(0, 1).trim()} 0000:02:00.0 64 MiB\nnvidia1\n1\n`);
    });
  }

  e2e(
    'shows what it injects read-only, devices that can be used, and nothing that can become another user',
    async () => {
      const script = 'grep -E " /(usr|dev|proc)/.*(nvidia|cuda)" /proc/self/mounts | cut -d" " -f2,4 | sort';
      const { stdout } = await inside('debian', ['--gpus', '0'], script);
      const mounts = new Map(
        stdout
          .trim()
          .split('\n')
          .map((entry) => entry.split(' ') as [string, string]),
      );
      const flagsOf = (place: string) => (mounts.get(place) ?? '').split(',');
      for (const place of ['/usr/lib/x86_64-linux-gnu/libcuda.so.999.1', '/usr/bin/nvidia-smi'])
        expect(flagsOf(place), place).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev']));
      for (const place of ['/dev/nvidia0', '/dev/nvidiactl', '/dev/nvidia-uvm']) {
        expect(flagsOf(place), place).toEqual(expect.arrayContaining(['rw', 'nosuid', 'noexec']));
        expect(flagsOf(place), place).not.toContain('nodev');
      }
      for (const place of ['/proc/driver/nvidia', '/proc/driver/nvidia/gpus/0000:01:00.0'])
        expect(flagsOf(place), place).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev']));
      expect(mounts.has('/dev/nvidia1')).toBe(false);
    },
  );

  e2e('has its own /proc/driver/nvidia, which does not ask for device nodes', async () => {
    const script =
      'cd /proc/driver/nvidia && ls . gpus && grep -h -E "^(Modify|NVRM)" params version; echo x > params; rm params; mkdir y';
    const ran = await inside('debian', ['--gpus', '1'], script);
    expect(ran.stdout).toBe(
      '.:\ngpus\nparams\nregistry\nversion\n\ngpus:\n0000:02:00.0\nModifyDeviceFiles: 0\n' +
        'NVRM version: NVIDIA UNIX x86_64 Kernel Module  999.1  Thu Jan  1 00:00:00 UTC 2026\n',
    );
    expect(ran.stderr.match(/Read-only|Permission denied/g)?.length).toBe(3);
  });

  e2e('makes pseudo-terminals when it hides a GPU, too', async () => {
    const mount = `${compileProgram('pty-run')}:/mnt/pty-run:x-create=file,bind,ro`;
    const script = '/mnt/pty-run true && echo a terminal';
    for (const gpus of ['all', '1']) {
      const ran = await inside('debian', ['--gpus', gpus, '--mount', mount], script);
      expect(ran, gpus).toMatchObject({ status: 0, stdout: 'a terminal\n', stderr: '' });
    }
    const env = { BUNDLER_SANDBOX: 'proot' };
    const plain = await inside('debian', ['--quiet', '--gpus', '1', '--mount', mount], script, { env });
    expect(plain).toMatchObject({ status: 0, stdout: 'a terminal\n' });
  });

  e2e('gives the same GPU to a bundle inside of it', async () => {
    const file = bundle('debian');
    const mount = `${path.dirname(file)}:/mnt/inner`;
    const script = '/mnt/inner/x.run nvidia-smi -L';
    for (const chosen of [
      ['--gpus', '1'],
      ['--env', 'NVIDIA_VISIBLE_DEVICES=1'],
    ]) {
      const ran = await inside('debian', [...chosen, '--mount', mount], script, { env: { BUNDLER_SHARE: '0' } });
      expect(ran).toMatchObject({ status: 0, stdout: line(0, 1) });
    }
  });

  e2e('keeps everything else in /dev that the caller may open when it hides a GPU', async () => {
    const script =
      'for f in /dev/*; do { test -c $f || test -b $f; } && ! { test -r $f && test -w $f; } || echo $f; done; echo to null > /dev/null && test -c /dev/zero && readlink /dev/fd';
    const [all, one] = await Promise.all([
      inside('debian', ['--gpus', 'all'], script),
      inside('debian', ['--gpus', '1'], script),
    ]);
    const without = all.stdout.split('\n').filter((name) => !/^\/dev\/(nvidia0|tty\d+|vcs[au]?\d*)$/.test(name));
    expect(one.stdout.split('\n')).toEqual(without);
    expect(one).toMatchObject({ status: 0, stderr: '' });
  });
});

describe('which GPUs a container has', () => {
  const seen = async (args: readonly string[], options: GpuHostOptions = {}) => {
    const ran = await inside('debian', args, 'nvidia-smi -L 2>&1; ls /dev | grep "^nvidia[0-9]"; true', options);
    return [ran.status, ran.stdout, ran.stderr];
  };
  const both = [0, `${line(0, 0)}${line(1, 1)}nvidia0\nnvidia1\n`, ''];
  const second = [0, `${line(0, 1)}nvidia1\n`, ''];

  e2e('is what --gpus says: indexes, UUIDs and their beginnings, bus ids', async () => {
    expect(await seen(['--gpus', '0,1'])).toEqual(both);
    expect(await seen(['--gpus', uuid(1)])).toEqual(second);
    expect(await seen(['--gpus', uuid(1).toUpperCase().replace('GPU', 'gpu')])).toEqual(second);
    expect(await seen(['--gpus', '0000:02:00.0'])).toEqual(second);
  });

  e2e('is what NVIDIA_VISIBLE_DEVICES says: of --env, then of the caller, then of the image; --gpus wins', async () => {
    const env = { NVIDIA_VISIBLE_DEVICES: '1' };
    expect(await seen([], { env })).toEqual(second);
    expect(await seen(['--env', 'NVIDIA_VISIBLE_DEVICES=all'], { env })).toEqual(both);
    expect(await seen(['--gpus', 'all'], { env })).toEqual(both);
    const file = bundle('debian', '--env', 'NVIDIA_VISIBLE_DEVICES=1');
    const ran = await runOnGpuHost([file, 'nvidia-smi', '-L']);
    expect(ran).toMatchObject({ status: 0, stdout: line(0, 1) });
  });

  e2e('is none with --gpus none, though the driver is there', async () => {
    expect(await seen(['--gpus', 'none'])).toEqual([0, 'No devices found.\n', '']);
  });

  e2e('is all that the host has, without a driver, when nobody asks', async () => {
    expect(await seen([])).toEqual([0, 'sh: nvidia-smi: not found\nnvidia0\nnvidia1\n', '']);
    expect(await seen([], { env: { NVIDIA_VISIBLE_DEVICES: 'void' } })).toEqual([
      0,
      'sh: nvidia-smi: not found\nnvidia0\nnvidia1\n',
      '',
    ]);
  });

  e2e('is told to the command, with the parts of the driver that it asked for', async () => {
    const script = 'echo $NVIDIA_VISIBLE_DEVICES; nvidia-smi; gpu-check list';
    const ran = await inside('debian', ['--gpus', '0', '--env', 'NVIDIA_DRIVER_CAPABILITIES=compute'], script);
    expect(ran.stdout).toMatch(/^all\nGPU 0: Stub GPU .*\n$/);
    expect(ran.stderr).toBe('sh: nvidia-smi: not found\n');
  });

  e2e('is not decided by variables that are about the host, or by files of variables', async () => {
    const env = { CUDA_VERSION: '14.1', NVIDIA_REQUIRE_CUDA: '', 'BASH_FUNC_g++%%': '() { :; }' };
    expect(await seen([], { env })).toEqual([0, 'sh: nvidia-smi: not found\nnvidia0\nnvidia1\n', '']);
    const file = path.join(makeDir(ordinaryUser()), 'variables');
    writeFileSync(file, 'NVIDIA_VISIBLE_DEVICES=1\n');
    expect(await seen(['--env-file', file], { env })).toEqual(second);
    expect(await seen([], { env: { NVIDIA_VISIBLE_DEVICES: '/var/run/nvidia-container-devices' } })).toEqual([
      0,
      'sh: nvidia-smi: not found\nnvidia0\nnvidia1\n',
      '',
    ]);
  });

  e2e('is those that have a node, in a container that was given some of the host’s', async () => {
    const prepare = 'rm /dev/nvidia0';
    expect(await seen(['--gpus', 'all'], { prepare })).toEqual(second);
    expect(await seen(['--gpus', '0'], { prepare })).toEqual(second);
  });

  e2e('goes with the GPUs that a batch system told the caller of, where the container has all', async () => {
    const env = { CUDA_VISIBLE_DEVICES: '1' };
    const script = 'env | grep -c ^CUDA_VISIBLE_DEVICES=1';
    expect(await inside('debian', ['--gpus', 'all'], script, { env })).toMatchObject({ stdout: '1\n' });
    expect(await inside('debian', ['--gpus', '1'], script, { env })).toMatchObject({ stdout: '0\n' });
    expect(await inside('debian', [], script, { env })).toMatchObject({ stdout: '0\n' });
  });

  e2e('may be decided by a hook of the host, as with enroot', async () => {
    const user = ordinaryUser();
    const conf = path.join(makeDir(user), 'conf');
    writeFileSync(conf, 'environ() { echo NVIDIA_VISIBLE_DEVICES=1; }\n');
    expect(await seen(['--conf', conf])).toEqual(second);
    expect(await seen(['--conf', conf], { env: { BUNDLER_SANDBOX: 'proot' } })).toEqual(second);
  });

  e2e('is not changed by such a hook where the user has said it himself', async () => {
    const dir = makeDir(ordinaryUser());
    const [conf, file] = [path.join(dir, 'conf'), path.join(dir, 'variables')];
    writeFileSync(conf, 'hooks() { echo NVIDIA_VISIBLE_DEVICES=0 >> "$ENROOT_ENVIRON"; }\n');
    writeFileSync(file, 'NVIDIA_VISIBLE_DEVICES=1\n');
    expect(await seen(['--conf', conf])).toEqual([0, `${line(0, 0)}nvidia0\n`, '']);
    expect(await seen(['--conf', conf, '--gpus', '1'])).toEqual(second);
    expect(await seen(['--conf', conf, '--env', 'NVIDIA_VISIBLE_DEVICES=1'])).toEqual(second);
    expect(await seen(['--conf', conf, '--env-file', file])).toEqual(second);
    expect(await seen(['--conf', conf], { env: { NVIDIA_VISIBLE_DEVICES: '1' } })).toEqual(second);
  });

  e2e('is nothing of ours with BUNDLER_HOOKS=-nvidia', async () => {
    const env = { BUNDLER_HOOKS: '-nvidia', NVIDIA_VISIBLE_DEVICES: '1' };
    expect(await seen([], { env })).toEqual([0, 'sh: nvidia-smi: not found\nnvidia0\nnvidia1\n', '']);
  });
});

describe('what an image cannot do', () => {
  e2e('is to have a directory of the host shown as that of the MPS daemon, which the user can', async () => {
    const user = ordinaryUser();
    const dir = makeDir(user, 'mps');
    writeFileSync(path.join(dir, 'control'), '');
    const script = `ls ${dir} 2>/dev/null`;
    const environment = ['--env', 'NVIDIA_VISIBLE_DEVICES=all', '--env', `CUDA_MPS_PIPE_DIRECTORY=${dir}`];
    const ran = await runOnGpuHost([bundle('debian', ...environment), 'sh', '-c', script]);
    expect(ran.stdout).toBe('');
    const asked = await inside('debian', ['--gpus', 'all'], `${script}; env | grep MPS`, {
      env: { CUDA_MPS_PIPE_DIRECTORY: dir },
    });
    expect(asked).toMatchObject({ stdout: `control\nCUDA_MPS_PIPE_DIRECTORY=${dir}\n`, stderr: '' });
  });

  e2e('is to see the caller’s variables, nor does a printed launch show them', async () => {
    const env = { AWS_SECRET_ACCESS_KEY: 'hunter2' };
    const ran = await runOnGpuHost([bundle('debian'), '--gpus', 'all', '--dry-run'], { env });
    expect(ran.status).toBe(0);
    expect(ran.stdout).not.toContain('hunter2');
  });
});

describe('a root that is kept', () => {
  e2e('gets no files of the driver, which lies on a tmpfs, and ldconfig works in it with --rw', async () => {
    const user = ordinaryUser();
    const target = path.join(makeDir(user), 'kept');
    const args = ['--keep', '--target', target, '--gpus', '0'];
    const kept = await inside('debian', args, 'nvidia-smi -L && gpu-check list > /dev/null');
    expect(kept).toMatchObject({ status: 0, stdout: line(0, 0), stderr: '' });
    expect(
      readdirSync(path.join(target, 'usr/lib/x86_64-linux-gnu')).filter((name) => /cuda|nvidia/.test(name)),
    ).toEqual([]);
    expect(readdirSync(path.join(target, 'usr/bin')).filter((name) => name.startsWith('nv'))).toEqual([]);
    expect(readdirSync(path.join(target, 'usr/local/nvidia'))).toEqual([]);
    const written = await inside(
      'debian',
      [...args, '--rw'],
      'ldconfig && nvidia-smi -L && gpu-check list > /dev/null',
    );
    expect(written).toMatchObject({ status: 0, stdout: line(0, 0), stderr: '' });
  });
});

describe('a layer that is kept', () => {
  e2e('gets no files of the driver, also when hooks of the host decide', async () => {
    const user = ordinaryUser();
    const layer = path.join(makeDir(user), 'layer');
    const conf = path.join(makeDir(user), 'conf');
    writeFileSync(conf, 'environ() { echo NVIDIA_VISIBLE_DEVICES=1; }\n');
    for (const gpus of [[], ['--gpus', '1']]) {
      const args = ['--overlay', layer, '--conf', conf, ...gpus];
      const ran = await inside('debian', args, 'ldconfig && nvidia-smi -L && gpu-check list > /dev/null');
      expect(ran).toMatchObject({ status: 0, stdout: line(0, 1), stderr: '' });
      const left = readdirSync(path.join(layer, 'upper'), { recursive: true, encoding: 'utf8' });
      expect(left.filter((name) => /cuda|nvidia-|libnvidia/.test(name))).toEqual([]);
    }
  });
});

describe('a GPU that cannot be had', () => {
  const refused = async (options: GpuHostOptions, ...args: string[]) => {
    const ran = await runOnGpuHost([bundle('debian'), ...args, 'true'], options);
    expect([ran.status, ran.stdout]).toEqual([125, '']);
    return ran.stderr;
  };

  e2e('is told with those that there are', async () => {
    const list = `  try: there are 0 \\(Stub GPU, ${uuid(0)}\\), 1 \\(Stub GPU, ${uuid(1)}\\)\n`;
    expect(await refused({}, '--gpus', '7')).toMatch(new RegExp(`^bundler: there is no GPU 7 on this host\n${list}$`));
    expect(await refused({ env: { NVIDIA_VISIBLE_DEVICES: '7' } })).toContain('there is no GPU 7');
    expect(await refused({}, '--gpus', 'GPU-ffff')).toContain('there is no GPU GPU-ffff on this host');
  });

  e2e('is told where the kernel module and the libraries are of two versions', async () => {
    const prepare = 'sed -i "s/999.1/998.7/" /proc/driver/nvidia/version';
    expect(await refused({ prepare }, '--gpus', 'all')).toMatch(
      /^bundler: the NVIDIA driver's kernel module is version 998\.7 and its libraries are version 999\.1\n {2}try: .*reboot/,
    );
  });

  e2e('is told where a device node is missing, with the command that makes it', async () => {
    expect(await refused({ prepare: 'rm /dev/nvidia-uvm' }, '--gpus', 'all')).toMatch(
      /^bundler: cannot give the container a GPU: \/dev\/nvidia-uvm is not there on this host\n {2}try: sudo nvidia-modprobe -u, or/,
    );
    const utility = await inside(
      'debian',
      ['--gpus', 'all', '--env', 'NVIDIA_DRIVER_CAPABILITIES=utility'],
      'nvidia-smi -L',
      {
        prepare: 'rm /dev/nvidia-uvm',
      },
    );
    expect(utility).toMatchObject({ status: 0, stdout: line(0, 0) + line(1, 1) });
  });

  e2e('is had after all where the host has nvidia-modprobe to make its node', async () => {
    // In place of a setuid program, which makes the node with the same command.
    const prepare = `mount -t tmpfs more /mnt; mkdir /mnt/more; mv /dev/nvidia-uvm /dev/not-yet; chmod 777 /dev; printf '#!/bin/sh\\n[ "$*" = -u ] && mv /dev/not-yet /dev/nvidia-uvm\\n' > /mnt/more/nvidia-modprobe
      chmod 755 /mnt/more/nvidia-modprobe; mount -t overlay -o lowerdir=/mnt/more:/usr/bin more /usr/bin`;
    const ran = await inside('debian', ['--gpus', '1'], 'ls /dev/nvidia-uvm; nvidia-smi -L', { prepare });
    expect(ran).toMatchObject({ status: 0, stdout: `/dev/nvidia-uvm\n${line(0, 1)}`, stderr: '' });
  });

  testNeeding(
    'root',
    'bundler',
    'userns',
    'fuse',
    'mksquashfs',
    'busybox',
    'cgroup',
  )('is one that the control group of the job refuses: all means the others, and they are counted alone', async () => {
    const user = freshUser();
    const group = new Cgroup();
    const job = group.inside('job');
    const deny = compileProgram('deny-device');
    // Of another number than the others, so that it can be refused: that of /dev/full.
    const prepare = `rm /dev/nvidia0; mknod -m 666 /dev/nvidia0 c 1 7; ${deny} ${job} 1 7; echo $$ > ${job}/cgroup.procs`;
    const ran = await inside('debian', ['--gpus', 'all'], 'nvidia-smi -L; ls /dev | grep "^nvidia[0-9]"', {
      prepare,
      user,
    });
    expect(ran).toMatchObject({ status: 0, stdout: `${line(0, 1)}nvidia1\n`, stderr: '' });
    const first = await inside('debian', ['--gpus', '0'], 'nvidia-smi -L', { prepare, user });
    expect(first).toMatchObject({ status: 0, stdout: line(0, 1) });
    expect(await refused({ prepare, user }, '--gpus', uuid(0))).toMatch(
      /^bundler: there is no GPU GPU-\S+ on this host; 1 more are not for this job: the device control group refuses them, or their nodes are not there\n/,
    );
    const alone = { prepare, user, gpus: 1 };
    expect(await refused(alone, '--gpus', 'all')).toMatch(
      /the device control group of this job refuses \/dev\/nvidia0\n {2}try: ask the batch system for a GPU/,
    );
    await untilAllEnded(user);
    group.remove(job);
  });

  e2e('is told where the node is closed to the user', async () => {
    expect(await refused({ prepare: 'chmod 600 /dev/nvidia1' }, '--gpus', '1')).toMatch(
      /\/dev\/nvidia1 may not be opened by you\n {2}try: ask for membership/,
    );
  });

  e2e('is an error on a host without a driver only for who asked himself', async () => {
    const file = bundle('debian', '--env', 'NVIDIA_VISIBLE_DEVICES=all');
    const told = await run([file, 'true']);
    expect(told).toMatchObject({ status: 0, stdout: '' });
    expect(told.stderr).toBe(
      'bundler: no GPU, though the image asks for it: this host has no NVIDIA driver (--gpus none: without this line)\n',
    );
    expect(await run([file, '--gpus', 'none', 'true'])).toMatchObject({ status: 0, stderr: '' });
    const insisted = await run([file, '--gpus', 'all', 'true']);
    expect(insisted.status).toBe(125);
    expect(insisted.stderr).toMatch(
      /^bundler: cannot give the container a GPU: this host has no GPU driver.*\n {2}try: /,
    );
  });
});

describe('what is told of GPUs', () => {
  e2e('--gpu-plan lists what a start would use, and `bundler inspect --gpu-plan` the same', async () => {
    const ran = await runOnGpuHost([bundle('debian'), '--gpus', '1', '--gpu-plan']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    const lines = ran.stdout.split('\n');
    expect(lines[0]).toBe('NVIDIA driver 999.1');
    expect(lines).toContain(`NVIDIA GPU 0, Stub GPU, ${uuid(0)}, 0000:01:00.0, /dev/nvidia0 (not in the container)`);
    expect(lines).toContain('asked for: 1 (--gpus)');
    expect(lines).toContain('file     /usr/lib/x86_64-linux-gnu/libcuda.so.999.1');
    expect(lines).toContain('hidden   /dev/nvidia0');
    const json = await runOnGpuHost([bundler, 'inspect', '--gpu-plan', '--json', bundle('debian')]);
    expect(JSON.parse(json.stdout)).toMatchObject({ wouldBe: true, asked: 'nothing', problem: '' });
  });

  e2e('--verify has a section of them, and fails where a start would', async () => {
    const ran = await runOnGpuHost([bundle('debian'), '--gpus', 'all', '--verify']);
    expect(ran.stdout).toContain('\nGPUs:\n\nNVIDIA driver 999.1\n');
    const failed = await runOnGpuHost([bundle('debian'), '--gpus', 'all', '--verify'], {
      prepare: 'rm /dev/nvidiactl',
    });
    expect(failed.status).toBe(1);
    expect(failed.stdout).toMatch(/Result:\n\nKO: cannot give the container a GPU: \/dev\/nvidiactl is not there/);
  });
});

describe('the example gpu-norm', () => {
  e2e('runs from a bundle with the driver of the host, and says what is missing without one', async () => {
    const dir = makeDir(ordinaryUser(), 'gpu-norm');
    const image = path.join(dir, 'gpu-norm.sqsh');
    execFileSync(path.join(repository, 'examples/gpu-norm/build-image'), [image], { stdio: 'pipe' });
    const file = makeBundle(image as `/${string}`, '--entrypoint', '/usr/local/bin/gpu-norm');
    const ran = await runOnGpuHost([file, '--gpus', 'all', '--', '-r', '1', '5000']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^ +5000 .* ok$/m);
    const without = await run([file]);
    expect(without.status).toBe(77);
    expect(without.stderr).toContain('libcuda.so.1');
  });
});

describe('what a start with a GPU leaves behind', () => {
  e2e('is nothing on the host', async () => {
    const user = ordinaryUser();
    const dir = makeDir(user);
    mkdirSync(path.join(dir, 'cwd'));
    await inside('debian', ['--gpus', '0'], 'true');
    expect(readdirSync('/dev/shm').filter((name) => /cuda|nvidia|ld\.so/.test(name))).toEqual([]);
    for (const place of ['/dev/nvidia0', '/usr/local/nvidia']) expect(existsSync(place), place).toBe(false);
  });
});
