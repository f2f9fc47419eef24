// SPDX-License-Identifier: Apache-2.0
import type { Op } from '../src/format/plan.ts';
import type { LaunchInput } from './launch-input.ts';
import { imageOf } from './payload.ts';

/** What batch systems call a job and a step: two jobs in one cgroup, as where cgroups are not used, stay apart. */
const jobVariables = [
  'SLURM_JOB_ID',
  'SLURM_STEP_ID',
  'PBS_JOBID',
  'LSB_JOBID',
  'JOB_ID',
  'FLUX_JOB_ID',
  'COBALT_JOBID',
  'OAR_JOB_ID',
] as const;

/**
 * Lets the launch share a served image with the processes that start from the same one as the same user in the same job:
 * the operation `share`, or nothing. The launcher adds to the key what the image will look like (entries, owners, file).
 */
export function planShare(input: LaunchInput): Op[] {
  const { request, settings, host } = input;
  const { uid, gid, euid, egid, cacheDir } = request;
  // The kernel lets only the ids of the first read the mount, and to the keeper every stranger looks like nobody.
  const isPlainUser = uid === euid && gid === egid && euid !== host.overflowUid;
  // What shows real owners can be read in its own user namespace only.
  if (!settings.share || settings.subuid || cacheDir === '' || host.probes.pidfd !== 'ok' || !isPlainUser) return [];
  const key = {
    digest: imageOf(input).digest,
    user: `${euid}:${egid}`,
    namespaces: request.namespaces,
    cgroup: stepCgroup(request.cgroup),
    job: jobVariables.map((name) => request.env[name] ?? ''),
  };
  return [{ op: 'share', dir: cacheDir, key: JSON.stringify(key) }];
}

/**
 * The cgroup of a job step, of what /proc/self/cgroup says (cgroups(7)): its lines sorted, each v1 hierarchy and v2. Slurm puts every
 * task of a step into a cgroup of its own (`job_7/step_0/user/task_3`; with v1 `job_7/step_0/task_3`), which must not part them.
 */
export function stepCgroup(text: string): string {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/^\d+:/, '').replace(/(\/job_[^/]+\/step_[^/]+)\/.*$/, '$1'))
    .sort()
    .join('\n');
}
