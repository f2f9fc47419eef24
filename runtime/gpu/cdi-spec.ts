// SPDX-License-Identifier: Apache-2.0
import { FAILSAFE_SCHEMA, load, nullCoreTag } from 'js-yaml';
import { type Bytes, fromText, toText } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';

/** A file of the Container Device Interface, reduced to what matters to a container that is made without privileges. */
export interface CdiSpec {
  /** `vendor.com/class`. */
  readonly kind: Bytes;
  readonly devices: readonly CdiDevice[];
  /** Applied once when any of the devices is. */
  readonly edits: ContainerEdits;
}

export interface CdiDevice {
  readonly name: Bytes;
  readonly edits: ContainerEdits;
}

export interface ContainerEdits {
  /** `K=V`. */
  readonly env: readonly Bytes[];
  readonly deviceNodes: readonly { readonly path: Bytes; readonly hostPath: Bytes }[];
  readonly mounts: readonly CdiMount[];
  readonly hooks: readonly CdiHook[];
  readonly additionalGids: readonly number[];
  /** Fields that are set and that nobody without privileges can honour: intelRdt, netDevices. */
  readonly privileged: readonly string[];
}

export interface CdiMount {
  readonly hostPath: Bytes;
  readonly containerPath: Bytes;
  /** `bind`, whatever the file calls it, or a type of file systems. */
  readonly type: Bytes;
  readonly options: readonly Bytes[];
}

export interface CdiHook {
  readonly path: Bytes;
  readonly args: readonly Bytes[];
}

/** Released versions of the specification, oldest first. */
const versions = ['0.3.0', '0.4.0', '0.5.0', '0.6.0', '0.7.0', '0.8.0', '1.0.0', '1.1.0'];
/** All scalars stay text, and their field decides what they are: `name: 0` is a name, as for the reference implementation. */
const schema = FAILSAFE_SCHEMA.withTags(nullCoreTag);

const vendorOrClass = /^[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?$/;
const deviceName = /^[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?$/;
const hookNames = ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'];

/**
 * Reads one file of the Container Device Interface, YAML or JSON, which is YAML, too. Strict as SPEC.md of
 * github.com/cncf-tags/container-device-interface demands: an unknown field, an unknown version, or a field that is newer than the file's
 * version fails the file. Throws Failure with the place in the file.
 */
export function parseSpec(content: Bytes): CdiSpec {
  const root = parseDocument(content);
  const first = { name: '', version: 0 };
  const top = readFields(root, first, ['cdiVersion', 'kind', 'annotations', 'devices', 'containerEdits']);
  const version = versions.indexOf(readText(top, 'cdiVersion', first).replace(/^v/, ''));
  if (version < 0) {
    const oldest = versions[0];
    fail(
      first,
      `cdiVersion is ${readText(top, 'cdiVersion', first) || 'missing'}, and known are ${oldest} to ${versions.at(-1)}`,
    );
  }
  const place = { name: '', version };
  readAnnotations(top, place);
  const kind = readText(top, 'kind', place);
  const [vendor = '', name = '', ...rest] = kind.split('/');
  const isKind = [vendor, name].every((part) => vendorOrClass.test(part)) && vendor.length <= 253 && name.length <= 63;
  if (!isKind || rest.length > 0) fail(place, `kind is not VENDOR/CLASS: ${kind}`);
  if (name.includes('.')) need(place, '0.6.0', 'a dot in the class of kind');
  const devices = readList(top, 'devices', place, readDevice);
  if (devices.length === 0) fail(place, 'no devices');
  const names = new Set<Bytes>();
  for (const device of devices) {
    if (names.has(device.name)) fail(place, `two devices with the name ${device.name}`);
    names.add(device.name);
  }
  return { kind, devices, edits: readEdits(top.get('containerEdits'), below(place, 'containerEdits')) };
}

function parseDocument(content: Bytes): unknown {
  try {
    return load(toText(content), { schema });
  } catch (error) {
    throw new Failure(`not YAML or JSON: ${fromText((error as Error).message.split('\n')[0] ?? '')}`);
  }
}

/** Where in the file, and in which version. */
interface Place {
  readonly name: string;
  readonly version: number;
}

type Fields = ReadonlyMap<string, unknown>;

function below({ name, version }: Place, field: string): Place {
  return { name: name === '' ? field : `${name}.${field}`, version };
}

function fail({ name }: Place, what: string): never {
  throw new Failure(name === '' ? what : `${name}: ${what}`);
}

function need(place: Place, version: string, what: string): void {
  if (place.version < versions.indexOf(version)) fail(place, `${what} needs cdiVersion ${version} or newer`);
}

function readDevice(value: unknown, place: Place): CdiDevice {
  const fields = readFields(value, place, ['name', 'annotations', 'containerEdits']);
  readAnnotations(fields, place);
  const name = readText(fields, 'name', place);
  if (!deviceName.test(name)) fail(place, name === '' ? 'no name' : `not a name: ${name}`);
  if (/^\d/.test(name)) need(place, '0.5.0', 'a name that begins with a digit');
  return { name, edits: readEdits(fields.get('containerEdits'), below(place, 'containerEdits')) };
}

function readEdits(value: unknown, place: Place): ContainerEdits {
  const names = ['env', 'deviceNodes', 'mounts', 'hooks', 'intelRdt', 'additionalGids', 'netDevices'];
  // The specification spells it both ways.
  const fields = readFields(value ?? {}, place, [...names, 'additionalGIDs']);
  const gids = ['additionalGids', 'additionalGIDs'].flatMap((name) =>
    readList(fields, name, place, (item, at) => readInteger(item, at)),
  );
  if (gids.length > 0) need(place, '0.7.0', 'additionalGids');
  if (fields.has('intelRdt')) readIntelRdt(fields.get('intelRdt'), below(place, 'intelRdt'));
  const netDevices = readList(fields, 'netDevices', place, (item, at) => {
    const device = readFields(item, at, ['hostInterfaceName', 'name']);
    for (const name of ['hostInterfaceName', 'name']) if (readText(device, name, at) === '') fail(at, `no ${name}`);
  });
  if (netDevices.length > 0) need(place, '1.1.0', 'netDevices');
  return {
    env: readEnv(fields, place),
    deviceNodes: readList(fields, 'deviceNodes', place, readDeviceNode),
    mounts: readList(fields, 'mounts', place, readMount),
    hooks: readList(fields, 'hooks', place, readHook),
    additionalGids: gids,
    privileged: [...(fields.has('intelRdt') ? ['intelRdt'] : []), ...(netDevices.length > 0 ? ['netDevices'] : [])],
  };
}

function readDeviceNode(value: unknown, place: Place): ContainerEdits['deviceNodes'][number] {
  const numbers = ['major', 'minor', 'fileMode', 'uid', 'gid'];
  const fields = readFields(value, place, ['path', 'hostPath', 'type', 'permissions', ...numbers]);
  for (const name of numbers) if (fields.has(name)) readInteger(fields.get(name), below(place, name));
  const type = readText(fields, 'type', place);
  if (!['', 'b', 'c', 'u', 'p'].includes(type)) fail(place, `not a type of device: ${type}`);
  const permissions = readText(fields, 'permissions', place);
  if (!/^([rwm]*|none)$/.test(permissions)) fail(place, `not permissions: ${permissions}`);
  const path = readPath(fields, 'path', place);
  if (readText(fields, 'hostPath', place) === '') return { path, hostPath: path };
  need(place, '0.5.0', 'hostPath');
  return { path, hostPath: readPath(fields, 'hostPath', place) };
}

function readMount(value: unknown, place: Place): CdiMount {
  const fields = readFields(value, place, ['hostPath', 'containerPath', 'type', 'options']);
  const type = readText(fields, 'type', place);
  if (type !== '') need(place, '0.4.0', 'type');
  const hostPath = readText(fields, 'hostPath', place);
  if (hostPath === '') fail(place, 'no hostPath');
  const containerPath = readPath(fields, 'containerPath', place);
  const options = readTexts(fields, 'options', place);
  // mount(2) ignores the type of these.
  const isBind = ['', 'none', 'bind'].includes(type) || options.includes('bind') || options.includes('rbind');
  if (isBind) readPath(fields, 'hostPath', place);
  return { hostPath, containerPath, type: isBind ? 'bind' : type, options };
}

function readHook(value: unknown, place: Place): CdiHook {
  const fields = readFields(value, place, ['hookName', 'path', 'args', 'env', 'timeout']);
  const name = readText(fields, 'hookName', place);
  if (!hookNames.includes(name)) fail(place, `not a name of a hook: ${name}`);
  if (fields.has('timeout') && readInteger(fields.get('timeout'), place) <= 0) fail(place, 'timeout is not positive');
  readEnv(fields, place);
  return { path: readPath(fields, 'path', place), args: readTexts(fields, 'args', place) };
}

function readIntelRdt(value: unknown, place: Place): void {
  need(place, '0.7.0', 'intelRdt');
  const newer = ['schemata', 'enableMonitoring'];
  // Version 1.1.0 dropped two fields.
  const older = place.version < versions.indexOf('1.1.0') ? ['enableCMT', 'enableMBM'] : [];
  const fields = readFields(value, place, ['closID', 'l3CacheSchema', 'memBwSchema', ...newer, ...older]);
  for (const name of newer) if (fields.has(name)) need(place, '1.1.0', name);
  for (const name of ['closID', 'l3CacheSchema', 'memBwSchema']) readText(fields, name, place);
  readTexts(fields, 'schemata', place);
  for (const name of ['enableMonitoring', ...older]) {
    if (!/^(true|false|)$/i.test(readText(fields, name, place))) fail(place, `${name} is neither true nor false`);
  }
}

function readAnnotations(fields: Fields, place: Place): void {
  if (!fields.has('annotations')) return;
  const at = below(place, 'annotations');
  const annotations = readFields(fields.get('annotations'), at, null);
  for (const name of annotations.keys()) readText(annotations, name, at);
  if (annotations.size > 0) need(place, '0.6.0', 'annotations');
}

/** The fields that are set; null stands for one that is not. names: those that may be there; null for any. */
function readFields(value: unknown, place: Place, names: readonly string[] | null): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(place, 'not an object with fields');
  const entries = Object.entries(value);
  for (const [name] of entries) if (names?.includes(name) === false) fail(place, `unknown field ${fromText(name)}`);
  return new Map(entries.filter(([, field]) => field !== null));
}

/** '' where it is not set. */
function readText(fields: Fields, name: string, place: Place): Bytes {
  return fields.has(name) ? asText(fields.get(name), below(place, name)) : '';
}

function asText(value: unknown, place: Place): Bytes {
  if (typeof value !== 'string') fail(place, 'not a text');
  if (value.includes('\0')) fail(place, 'a zero byte');
  return fromText(value);
}

function readTexts(fields: Fields, name: string, place: Place): Bytes[] {
  return readList(fields, name, place, asText);
}

function readList<T>(fields: Fields, name: string, place: Place, read: (value: unknown, place: Place) => T): T[] {
  const value = fields.get(name) ?? [];
  if (!Array.isArray(value)) fail(below(place, name), 'not a list');
  return value.map((item, index) => read(item, below(place, `${name}[${index}]`)));
}

function readEnv(fields: Fields, place: Place): Bytes[] {
  return readList(fields, 'env', place, (value, at) => {
    const item = asText(value, at);
    if (item.indexOf('=') <= 0) fail(at, `not NAME=VALUE: ${item}`);
    return item;
  });
}

function readPath(fields: Fields, name: string, place: Place): Bytes {
  const path = readText(fields, name, place);
  if (!path.startsWith('/')) fail(place, path === '' ? `no ${name}` : `${name} is not absolute: ${path}`);
  return path;
}

/** Decimal, octal as YAML writes it in either version, or hexadecimal. */
function readInteger(value: unknown, place: Place): number {
  const text = asText(value, place);
  if (!/^([-+]?\d+|0o[0-7]+|0x[0-9a-fA-F]+)$/.test(text)) fail(place, `not a number: ${text}`);
  return Number(/^0[0-7]+$/.test(text) ? `0o${text.slice(1)}` : text);
}
