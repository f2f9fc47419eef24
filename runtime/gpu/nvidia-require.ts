// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import { printable } from '../options.ts';

/** What requirements are about; null where it is not known. */
export interface RequirementFacts {
  /** The newest CUDA version that the driver supports. */
  readonly cuda: string | null;
  readonly driver: string | null;
  /** Of the chosen GPUs. arch: compute capability; brand: as nvidia-smi has it (`NVIDIA RTX`). */
  readonly gpus: readonly { readonly arch: string | null; readonly brand: Bytes | null }[];
}

export interface RequirementVerdict {
  /** All variables are satisfied; what is not known counts as satisfied. */
  readonly ok: boolean;
  /** The variables that are not; why: what each wants and what there is, in words that follow its name. */
  readonly failed: readonly { readonly variable: string; readonly why: Bytes }[];
  /** It is satisfied only because a fact is not known: with that fact it might not be. */
  readonly unknown: boolean;
  /** Names that stand in requirements and are not known, each once; what is said of them was passed over. */
  readonly skipped: readonly Bytes[];
}

const prefix = 'NVIDIA_REQUIRE_';

/**
 * The requirements in an environment, by the names of their variables: NVIDIA_REQUIRE_*; of an image from before these (CUDA_VERSION is
 * set, NVIDIA_REQUIRE_CUDA is not) `cuda>=X.Y` by the name CUDA_VERSION (nvidia-container-toolkit, cuda_image.go). None when
 * NVIDIA_DISABLE_REQUIRE is set, unless to a word for false.
 */
export function collectRequirements(env: ReadonlyMap<string, Bytes>): Map<string, Bytes> {
  if (!['', '0', 'f', 'false'].includes((env.get('NVIDIA_DISABLE_REQUIRE') ?? '').toLowerCase())) return new Map();
  const own = [...env].filter(([name, value]) => name.startsWith(prefix) && value.trim() !== '');
  const requirements = new Map(own.sort(([one], [other]) => (one < other ? -1 : 1)));
  const version = /^v?(\d+\.\d+)/.exec(env.get('CUDA_VERSION') ?? '')?.[1];
  if (version !== undefined && !env.get(`${prefix}CUDA`)) requirements.set('CUDA_VERSION', `cuda>=${version}`);
  return requirements;
}

/**
 * Checks the requirements of an image. Each variable is a list of alternatives, separated by spaces; each of these is a list of
 * comparisons, separated by commas, all of which must hold, such as `cuda>=12.4 brand=tesla,driver>=470,driver<471`
 * (libnvidia-container, cli/dsl.c and cli/configure.c). All variables must be satisfied, for each GPU; without a GPU, arch and brand
 * always are. NVIDIA_REQUIRE_JETPACK* are not for this. Throws Failure for what is no requirement.
 */
export function checkRequirements(variables: ReadonlyMap<string, Bytes>, facts: RequirementFacts): RequirementVerdict {
  const skipped = new Set<Bytes>();
  const failed: { variable: string; why: Bytes }[] = [];
  let unknown = false;
  for (const [variable, text] of variables) {
    if (variable.startsWith(`${prefix}JETPACK`)) continue;
    const alternatives = parseRequirement(variable, text, skipped);
    if (alternatives.length === 0) continue;
    for (const gpu of facts.gpus.length > 0 ? facts.gpus : [null]) {
      const values = valuesOf(facts, gpu);
      const results = alternatives.map((comparisons) => comparisons.map((one) => compare(one, values[one.name])));
      if (!results.some((all) => all.every((result) => result !== false))) {
        failed.push({ variable, why: `wants ${explain(alternatives, results, values)}` });
        break;
      }
      if (!results.some((all) => all.every((result) => result === true))) unknown = true;
    }
  }
  const ok = failed.length === 0;
  return { ok, failed, unknown: ok && unknown, skipped: [...skipped] };
}

type Name = 'cuda' | 'driver' | 'arch' | 'brand';

interface Comparison {
  readonly name: Name;
  readonly operator: string;
  readonly value: Bytes;
}

/** An undefined one is of a GPU, and there is no GPU. */
type Values = Readonly<Record<Name, Bytes | null | undefined>>;

function valuesOf({ cuda, driver }: RequirementFacts, gpu: RequirementFacts['gpus'][number] | null): Values {
  return { cuda, driver, arch: gpu?.arch, brand: gpu?.brand };
}

const operators = ['=', '!=', '<', '<=', '>', '>='];

/** Alternatives that are empty, or speak only of names that are not known, are left out. */
function parseRequirement(variable: string, text: Bytes, skipped: Set<Bytes>): Comparison[][] {
  const fail = (part: Bytes, what: string): never => {
    throw new Failure(
      `${variable}: ${printable(part)} is no requirement: ${what}`,
      'mend the variable, or set NVIDIA_DISABLE_REQUIRE=1 to start without these checks',
    );
  };
  const parse = (part: Bytes): Comparison[] => {
    const [, word = '', operator = '', value = ''] = /^([^<>=!]*)([<>=!]*)(.*)$/s.exec(part) ?? [];
    if (word === '' || value === '' || !operators.includes(operator)) {
      fail(part, `it should be NAME, one of ${operators.join(' ')}, and a value`);
    }
    const name = (['cuda', 'driver', 'arch', 'brand'] as const).find((one) => one === word.toLowerCase());
    if (name === undefined) {
      skipped.add(word);
      return [];
    }
    if (name === 'brand' && !['=', '!='].includes(operator)) fail(part, 'a brand can be compared by = and != only');
    if (name !== 'brand' && !/^\d[\d.]*$/.test(value)) fail(part, `${printable(value)} is not a version`);
    return [{ name, operator, value }];
  };
  return splitParts(text, /\s+/)
    .map((alternative) => splitParts(alternative, ',').flatMap(parse))
    .filter((comparisons) => comparisons.length > 0);
}

function splitParts(text: Bytes, separator: string | RegExp): Bytes[] {
  return text.split(separator).filter((part) => part !== '');
}

/** null: the value is not known. */
function compare({ name, operator, value }: Comparison, actual: Bytes | null | undefined): boolean | null {
  if (actual === undefined) return true;
  if (actual === null || (name !== 'brand' && !/^\d[\d.]*$/.test(actual))) return null;
  if (name === 'brand') return (operator === '=') === namesOfBrand(actual).includes(plainBrand(value));
  const order = compareVersions(actual, value);
  if (operator === '=') return order === 0;
  if (operator === '!=') return order !== 0;
  if (order === 0) return operator.endsWith('=');
  return operator.startsWith('<') ? order < 0 : order > 0;
}

/** By their numbers; missing ones at the end are 0. */
function compareVersions(one: string, other: string): number {
  const [a, b] = [one, other].map((version) => splitParts(version, '.').map(BigInt)) as [bigint[], bigint[]];
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    const [left = 0n, right = 0n] = [a[at], b[at]];
    if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}

/** The brands that libnvidia-container knows (driver.c); it calls all others unknown, which requirements allow for. */
const oldBrands = ['quadro', 'tesla', 'nvs', 'grid', 'geforce', 'titan'];

/** Requirements have other words than nvidia-smi for the virtual ones (NVML's nvmlBrandType_t). */
const shortBrands: Readonly<Record<string, string>> = {
  nvidiavirtualapplications: 'vapps',
  nvidiavirtualpc: 'vpc',
  nvidiavirtualcomputeserver: 'vcs',
  nvidiartxvirtualworkstation: 'vws',
  nvidiacloudgaming: 'cloudgaming',
  nvidiavapps: 'vapps',
  nvidiavpc: 'vpc',
  nvidiavcs: 'vcs',
  nvidiavws: 'vws',
};

function plainBrand(brand: Bytes): string {
  const plain = brand.toLowerCase().replace(/[^a-z0-9]/g, '');
  return shortBrands[plain] ?? plain;
}

function namesOfBrand(brand: Bytes): string[] {
  const plain = plainBrand(brand);
  return oldBrands.includes(plain) ? [plain] : [plain, 'unknown'];
}

/** The first comparison that fails in each alternative, without repetition; of the long lists of NVIDIA's images only the beginning. */
function explain(alternatives: Comparison[][], results: (boolean | null)[][], values: Values): string {
  const reasons = alternatives.map((comparisons, position) => {
    const failing = comparisons[results[position]?.indexOf(false) ?? -1];
    if (failing === undefined) return '';
    return `${failing.name}${failing.operator}${printable(failing.value)} (it is ${printable(values[failing.name] ?? '')})`;
  });
  const distinct = [...new Set(reasons)];
  const shown = distinct.slice(0, 3);
  const rest = distinct.length - shown.length;
  return [...shown, ...(rest > 0 ? [`${rest} more`] : [])].join(', or ');
}
