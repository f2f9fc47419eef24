// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { readEnded, runQuestion } from '../host-program.ts';
import type { LaunchInput } from '../launch-input.ts';
import { printable } from '../options.ts';
import type { Asked } from './asked.ts';
import { cudaOfDriver } from './cuda-versions.ts';
import type { Edits } from './edits.ts';
import type { MigCapability, NvidiaFacts, NvidiaGpu } from './nvidia-facts.ts';
import { planForwardCompatibility, planNvidia } from './nvidia-plan.ts';
import { migAdminNodes } from './nvidia-proc.ts';
import { type NvidiaRequest, usualMpsPipe } from './nvidia-request.ts';
import { checkRequirements } from './nvidia-require.ts';
import { type Selection, selectGpus } from './nvidia-select.ts';
import { readSmi, type SmiFacts, type SmiQuestion, smiQuestions } from './nvidia-smi.ts';

type Asking = { readonly ask: readonly string[] };

/** nvidia-smi initialises every GPU first, which takes seconds where no daemon keeps them ready. */
const smiTimeoutMs = 30_000;

/** The whole of NVIDIA's part: chooses GPUs, checks requirements and nodes, and asks the host's own programs where only they can tell. */
export function planNvidiaLaunch(input: LaunchInput, asked: Asked, looked: NvidiaFacts): Edits | Asking {
  const { nvidia: request, requirements } = asked;
  const answers = input.host.answers;
  const facts = withMadeNodes(request, looked, answers);
  if ('ask' in facts) return facts;
  const devices = request.devices === 'void' ? 'none' : request.devices;
  if (devices !== 'none' && facts.moduleVersion === '') {
    throw new Failure(
      "cannot give the container a GPU: the NVIDIA driver's kernel module is not loaded, though its device nodes are there",
      'sudo modprobe nvidia; where that finds no module, install the driver',
    );
  }
  const gpus = listUsable(facts, devices);
  const smi = readAnswers(facts, answers);
  const selection = selectUsable(devices, gpus, facts, smi);
  if (selection.needsSmi && smi === null) {
    const asking = askSmi(facts, answers);
    if (asking !== null) return asking;
    throw new Failure(
      `cannot tell which GPU is ${[devices].flat().join(',')}: only nvidia-smi can, and this host has none`,
      'name the GPU by its index or its bus id, or install nvidia-smi (Debian and Ubuntu: nvidia-utils)',
    );
  }
  const chosen = selection.gpus.flatMap((index) => gpus[index] ?? []);
  const isPart = (one: MigCapability) =>
    selection.migs.some(
      ({ gpu, gi, ci }) => one.gpu === gpus[gpu]?.minor && one.gi === gi && (one.ci === null || one.ci === ci),
    );
  const migs = facts.mig.filter(devices === 'all' ? ({ gpu }) => chosen.some(({ minor }) => minor === gpu) : isPart);
  const withMig = planMigConfig(input, asked, facts);
  if (withMig !== null && 'ask' in withMig) return withMig;
  const checked = withMig ?? request;
  const compat = input.manifest.rootfs?.loader?.compat ?? [];
  const trouble = devices === 'none' ? null : checkNeeds(requirements, facts, chosen, smi, compat);
  if (trouble?.unknown && smi === null) {
    const asking = askSmi(facts, answers);
    if (asking !== null) return asking;
  }
  if (trouble !== null && !trouble.ok) {
    throw new Failure(
      `the image needs what this host's NVIDIA driver or GPU does not have: ${trouble.failed.map(({ variable, why }) => `${printable(variable)} ${printable(why)}`).join('; ')}`,
      'a newer driver on the host, or an image made for this one; to start all the same: --env NVIDIA_DISABLE_REQUIRE=1',
    );
  }
  checkNodes(checked, facts, chosen);
  const edits = planNvidia(checked, facts, chosen, migs, compat);
  const skipped = (trouble?.skipped ?? []).map(
    (name) => `a requirement of the image is not known and not checked: ${printable(name)}`,
  );
  return {
    ...edits,
    devices: [...edits.devices, ...migAdminNodes(facts, checked)],
    env: [...edits.env, ...passVariables(asked, facts), ...(withMig === null ? [] : ['NVIDIA_MIG_CONFIG_DEVICES=all'])],
    warnings: [...edits.warnings, ...skipped],
  };
}

function checkNeeds(
  requirements: Asked['requirements'],
  facts: NvidiaFacts,
  chosen: readonly NvidiaGpu[],
  smi: SmiFacts | null,
  compat: readonly string[],
) {
  if (requirements.size === 0) return null;
  // With libraries of a newer driver in the image CUDA is theirs.
  const [, forward] =
    /^libcuda\.so\.([\d.]+)$/.exec(compat.find((name) => /^libcuda\.so\.\d+\./.test(name)) ?? '') ?? [];
  const driver =
    planForwardCompatibility(facts.moduleVersion, compat).length > 0 ? (forward ?? '') : facts.moduleVersion;
  return checkRequirements(requirements, {
    cuda: driver === facts.moduleVersion && smi?.cuda ? smi.cuda : cudaOfDriver(driver),
    driver: facts.moduleVersion === '' ? null : facts.moduleVersion,
    gpus: chosen.map(({ busId }) => {
      const known = smi?.gpus.find((gpu) => gpu.busId === busId);
      return { arch: known?.computeCapability || null, brand: known?.brand || null };
    }),
  });
}

/**
 * Device nodes are made when a program that is setuid on the host is run for it; inside a user namespace that would be in vain, so it is done
 * before. Source: nvidia-modprobe(1), whose minor number 255 is that of nvidiactl.
 */
function withMadeNodes(
  request: NvidiaRequest,
  facts: NvidiaFacts,
  answers: LaunchInput['host']['answers'],
): NvidiaFacts | Asking {
  const modprobe = facts.programs['nvidia-modprobe'];
  const { devices, capabilities } = request;
  if (modprobe === undefined || devices === 'none' || facts.moduleVersion === '') return facts;
  const lacks = (path: string) => facts.nodes[path] === undefined;
  const minors = facts.gpus.map(({ minor }) => minor);
  const hasNone = minors.every((minor) => lacks(`/dev/nvidia${minor}`));
  const made = [
    ...(capabilities.has('compute') && lacks('/dev/nvidia-uvm') ? ['/dev/nvidia-uvm', '/dev/nvidia-uvm-tools'] : []),
    ...(lacks('/dev/nvidiactl') ? ['/dev/nvidiactl'] : []),
    ...(hasNone ? minors.map((minor) => `/dev/nvidia${minor}`) : []),
  ];
  if (made.length === 0) return facts;
  const numbers = [...(lacks('/dev/nvidiactl') ? [255] : []), ...(hasNone ? minors : [])];
  const question = runQuestion([modprobe, '-u', ...numbers.map((number) => `-c=${number}`)], smiTimeoutMs);
  const answer = answers[question];
  if (answer === undefined) return { ask: [question] };
  const { how, code } = readEnded(answer);
  if (how !== 'exit' || code !== 0) return facts;
  return { ...facts, nodes: { ...facts.nodes, ...Object.fromEntries(made.map((path) => [path, 'ok' as const])) } };
}

/** Of several GPUs a batch system may have granted some: for programs in the job, nvidia-smi among them, there are no others, and indexes count those. */
function listUsable({ gpus, nodes }: NvidiaFacts, devices: 'all' | 'none' | readonly string[]): readonly NvidiaGpu[] {
  // In a container of another engine the nodes of others are not there at all.
  const granted = gpus.filter(
    ({ minor }) => !['refused', 'missing'].includes(nodes[`/dev/nvidia${minor}`] ?? 'missing'),
  );
  return devices === 'none' || granted.length === 0 ? gpus : granted;
}

/** selectGpus; where that fails in a job that was not granted all GPUs, the others may be meant. */
function selectUsable(
  devices: 'all' | 'none' | readonly string[],
  gpus: readonly NvidiaGpu[],
  facts: NvidiaFacts,
  smi: SmiFacts | null,
): Selection {
  try {
    return selectGpus(devices, gpus, facts.mig, smi);
  } catch (error) {
    const refused = facts.gpus.length - gpus.length;
    if (!(error instanceof Failure) || refused === 0) throw error;
    const more = `${refused} more are not for this job: the device control group refuses them, or their nodes are not there`;
    throw new Failure(`${error.message}; ${more}`, error.hint);
  }
}

/** Throws Failure where a node is missing or refused without which the chosen GPUs are of no use. */
function checkNodes(request: NvidiaRequest, facts: NvidiaFacts, chosen: readonly NvidiaGpu[]): void {
  if (request.devices === 'none') return;
  if (chosen.length === 0) {
    throw new Failure(
      'cannot give the container a GPU: the NVIDIA driver is loaded, and knows of none',
      'see what it says: sudo dmesg | grep -i nvrm',
    );
  }
  const needed = [
    '/dev/nvidiactl',
    ...(request.capabilities.has('compute') ? ['/dev/nvidia-uvm'] : []),
    ...chosen.map(({ minor }) => `/dev/nvidia${minor}`),
  ];
  for (const path of needed) {
    switch (facts.nodes[path] ?? 'missing') {
      case 'missing':
        throw new Failure(`cannot give the container a GPU: ${path} is not there on this host`, makeCommand(path));
      case 'denied':
        throw new Failure(
          `cannot give the container a GPU: ${path} may not be opened by you`,
          `ask for membership in the group that owns it (ls -l ${path}), or for "sudo chmod 666 ${path}"`,
        );
      case 'refused':
        throw new Failure(
          `cannot give the container a GPU: the device control group of this job refuses ${path}`,
          'ask the batch system for a GPU (Slurm: --gpus=1), or choose one that the job was given',
        );
    }
  }
}

function makeCommand(path: string): string {
  if (path === '/dev/nvidia-uvm') return 'sudo nvidia-modprobe -u, or "sudo modprobe nvidia-uvm" and that again';
  return path === '/dev/nvidiactl'
    ? 'sudo nvidia-modprobe -c=255'
    : `sudo nvidia-modprobe -c=${path.replace(/\D+/, '')}`;
}

/** Asks nvidia-smi; null when it was asked, or is not there. */
export function askSmi(facts: NvidiaFacts, answers: LaunchInput['host']['answers']): Asking | null {
  const open = listSmiQuestions(facts).flatMap(([, question]) => (answers[question] === undefined ? [question] : []));
  return open.length > 0 ? { ask: open } : null;
}

function listSmiQuestions({ programs }: NvidiaFacts): [SmiQuestion, string][] {
  const smi = programs['nvidia-smi'];
  if (smi === undefined) return [];
  const all = Object.entries(smiQuestions) as [SmiQuestion, readonly string[]][];
  return all.map(([name, args]) => [name, runQuestion([smi, ...args], smiTimeoutMs)]);
}

/** What nvidia-smi has told; null when it was not asked. */
export function readAnswers(facts: NvidiaFacts, answers: LaunchInput['host']['answers']): SmiFacts | null {
  const outputs = listSmiQuestions(facts).map(([name, question]) => [name, answers[question]] as const);
  if (outputs.length === 0 || outputs.some(([, output]) => output === undefined)) return null;
  const read = (output: string) => {
    const { how, code, stdout } = readEnded(output);
    return how === 'exit' && code === 0 ? stdout : null;
  };
  return readSmi(Object.fromEntries(outputs.map(([name, output]) => [name, read(output ?? '')])));
}

/**
 * A batch system tells a task its GPUs by CUDA_VISIBLE_DEVICES; where the container has all, the indexes mean the same inside. The container's programs
 * look for the MPS daemon where it was found.
 */
function passVariables({ nvidia: { devices, mpsPipe }, cudaVisible }: Asked, { files }: NvidiaFacts): string[] {
  return [
    ...(devices === 'all' && cudaVisible !== '' ? [`CUDA_VISIBLE_DEVICES=${cudaVisible}`] : []),
    ...(files[mpsPipe] !== undefined && mpsPipe !== usualMpsPipe ? [`CUDA_MPS_PIPE_DIRECTORY=${mpsPipe}`] : []),
  ];
}

/** The hook 50-mig-config: for whole GPUs with MIG enabled, the right to configure it. */
function planMigConfig(
  input: LaunchInput,
  { nvidia: request }: Asked,
  facts: NvidiaFacts,
): NvidiaRequest | Asking | null {
  if (!input.settings.hooks.includes('50-mig-config')) return null;
  const { devices } = request;
  if (devices === 'void' || devices === 'none') return null;
  if (devices !== 'all' && devices.some((element) => /MIG-|.:./.test(element))) return null;
  const asking = askSmi(facts, input.host.answers);
  if (asking !== null) return asking;
  const smi = readAnswers(facts, input.host.answers);
  return smi?.gpus.some(({ migEnabled }) => migEnabled) ? { ...request, migConfig: true } : null;
}
