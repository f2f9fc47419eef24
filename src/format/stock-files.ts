// SPDX-License-Identifier: Apache-2.0

/**
 * The configuration files that enroot ships, by their place below /etc/enroot. A file with one of these digests is not run or
 * read: a part of bundler that does the same serves it, named as the file is without its ending. A file of such a name with
 * other contents was changed by an administrator and takes that part's place.
 */
export interface StockFile {
  readonly path: string;
  /** Versions of enroot that ship these bytes. */
  readonly version: string;
  /** SHA-256 of its content. */
  readonly digest: string;
}

// biome-ignore format: a table, one file a line
export const stockFiles: readonly StockFile[] = [
  { path: 'environ.d/10-terminal.env', version: '4.1.2', digest: 'e759938123a7148198fa9b2fabff5931ea05821d649981cfda1e02d373c3a9e3' },
  { path: 'mounts.d/10-system.fstab', version: '4.1.2', digest: '5b94c2286afc8f1049c30fc5e10d389ee5bea79f8712eba088c1651bf1a271a4' },
  { path: 'mounts.d/20-config.fstab', version: '4.1.2', digest: '5cfd51a57ff45ff5587809c3f66412238827cd979b7928a0a3912b9c4b250fe2' },
  { path: 'mounts.d/30-lxcfs.fstab', version: '4.1.2', digest: 'e03d422be904a0a4703f22aeb46cbc227b2cb3c3921a865c5156d61b2f9d2822' },
  { path: 'hooks.d/10-aptfix.sh', version: '4.1.2', digest: 'c99f3925d06bc4de393d5affbffd132ecbcc07b3fbd545508ac7b732ef8a2472' },
  { path: 'hooks.d/10-cgroups.sh', version: '4.1.2', digest: 'da4abae069cedff1989db8bd61f64290f246b51b71ab81f26b35be56746bc758' },
  { path: 'hooks.d/10-devices.sh', version: '4.1.2', digest: '45c63ea658e548df43133f7b60d2ec52a8ccc0ac869a64ca4cd6324f4477e60e' },
  { path: 'hooks.d/10-home.sh', version: '4.1.2', digest: '8a23a5a394e121ba93103ffafa630885cf9988317b7c0016910ad555e1c7725d' },
  { path: 'hooks.d/10-localtime.sh', version: '4.1.2', digest: 'ab460cde3f3b54294cb9b447464077ae1e27829117434b0c9bc98e7660b5cdc5' },
  { path: 'hooks.d/10-shadow.sh', version: '4.1.2', digest: 'd82843f7ed80a97ead9d91ece9a45edc722dabfbc74a03a04754328c13586fcb' },
  { path: 'hooks.d/50-mig-config.sh', version: '4.1.2', digest: 'a641f4ecea935c4d18b4031b9e3f67b7874c11e8d0e80cace62bba4782a4eacd' },
  { path: 'hooks.d/50-sharp.sh', version: '4.1.2', digest: 'e05100e6166076e270442250739447784dc65d842c47e0a72168a9baaed36f21' },
  { path: 'hooks.d/50-slurm-pmi.sh', version: '4.1.2', digest: 'aaf285d581d732d21f76b8752976dd7779335e35656808af689ec4af40042f68' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '4.1.2', digest: '3118afb2b7743eaaafb7e3a59a9459a8bd4e55a93217bd5b0c571ce9729d227d' },
  { path: 'hooks.d/98-nvidia.sh', version: '4.1.2', digest: '91db82ae029858eed988b76aa28835a609801a1ff131e25e1bbc1e0402d8cd7d' },
  { path: 'hooks.d/99-mellanox.sh', version: '4.1.2', digest: '43bd5509a3fd1e2c2d8cd427135a91bba4164ba97094eee0ea4ac5701ff9273f' },
];

/** The part that serves a stock file: its name without directory and ending. */
export function builtinName(path: string): string {
  return path.replace(/^.*\//, '').replace(/\.\w+$/, '');
}

/** The part whose place a changed file of this name takes; null for a file of the administrator's own. */
export function builtinReplacedBy(path: string): string | null {
  return stockFiles.some((file) => file.path === path) ? builtinName(path) : null;
}

/** The stock file with this SHA-256 (hex), whatever its name: administrators renumber hooks. undefined when there is none. */
export function findStock(digest: string): StockFile | undefined {
  return stockFiles.find((file) => file.digest === digest);
}
