// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { FstabEntry } from '../fstab.ts';
import type { BuiltInHook } from './hook.ts';

/** What PMIx calls its plugins, from the variables in which Slurm hands them over. */
const modules = [
  ['PMIX_PTL_MODULE', 'PMIX_MCA_ptl'],
  ['PMIX_SECURITY_MODE', 'PMIX_MCA_psec'],
  ['PMIX_GDS_MODULE', 'PMIX_MCA_gds'],
] as const;

/**
 * In a step of Slurm: SLURM_*, and what MPI needs to find its peers (PMI_*, PMIX_* and the directory of the PMIx server).
 * Nothing here is fatal: a job that uses no MPI may have half of it.
 */
export const slurmPmi: BuiltInHook = {
  name: '50-slurm-pmi',
  byDefault: true,
  text: "in a step of Slurm, passes `SLURM_*`, `PMI_*` and `PMIX_*` and mounts the PMIx server's directory, so that MPI works",
  add: ({ input: { request } }) => {
    const { env } = request;
    if (!env.SLURM_JOB_ID || !env.SLURM_STEP_ID) return {};
    const withPrefix = (prefix: string): Bytes[] =>
      Object.keys(env)
        .filter((name) => name.startsWith(prefix))
        .map((name) => `${name}=${env[name]}`);
    const environ = withPrefix('SLURM_');
    const mounts: FstabEntry[] = [];
    const type = env.SLURM_MPI_TYPE ?? '';
    const pmix = withPrefix('PMIX_');
    if ((type === '' || type.startsWith('pmix')) && pmix.length > 0) {
      environ.push(...pmix);
      for (const [from, to] of modules) if (env[from] && !env[to]) environ.push(`${to}=${env[from]}`);
      const dir = env.PMIX_SERVER_TMPDIR ?? '';
      if (dir.startsWith('/')) mounts.push({ source: dir, target: dir, type: '', options: serverOptions, pass: 0 });
    }
    environ.push(...withPrefix('PMI_'));
    return { environ, mounts };
  },
};

const serverOptions = ['x-create=dir', 'rbind', 'rw', 'nosuid', 'noexec', 'nodev', 'private', 'nofail'];
