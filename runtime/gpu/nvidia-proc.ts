// SPDX-License-Identifier: Apache-2.0
import type { Bind } from './edits.ts';
import type { MigCapability, NvidiaFacts, NvidiaGpu } from './nvidia-facts.ts';
import type { NvidiaRequest } from './nvidia-request.ts';
import { driverProc } from './nvidia-tables.ts';

/** What the container sees of /proc/driver/nvidia besides its own copies of the plain files: the chosen GPUs, and parts of them. */
export function planProc(
  facts: NvidiaFacts,
  chosen: readonly NvidiaGpu[],
  migs: readonly MigCapability[],
  request: Pick<NvidiaRequest, 'migConfig' | 'migMonitor'>,
  isAll: boolean,
): Bind[] {
  const bind = (path: string): Bind => ({ source: path, target: path, kind: 'proc' });
  const root = `${driverProc}/capabilities`;
  const { config, monitor } = facts.migAdmin;
  const admin = [
    ...(request.migConfig && config !== null ? [`${root}/mig/config`] : []),
    ...(request.migMonitor && monitor !== null ? [`${root}/mig/monitor`] : []),
  ];
  const parts = migs.map(({ gpu, gi, ci }) => `${root}/gpu${gpu}/mig/gi${gi}${ci === null ? '' : `/ci${ci}`}/access`);
  return [
    ...chosen.map(({ busId }) => bind(`${driverProc}/gpus/${busId}`)),
    ...(isAll && migs.length > 0 ? [bind(root)] : [...admin, ...parts].map(bind)),
  ];
}

/** Device nodes for who administers MIG: of the whole host, where the caller may open them. */
export function migAdminNodes(facts: NvidiaFacts, request: Pick<NvidiaRequest, 'migConfig' | 'migMonitor'>): string[] {
  const minors = [request.migConfig ? facts.migAdmin.config : null, request.migMonitor ? facts.migAdmin.monitor : null];
  return minors.flatMap((minor) => {
    const path = `/dev/nvidia-caps/nvidia-cap${minor}`;
    return minor !== null && facts.nodes[path] === 'ok' ? [path] : [];
  });
}
