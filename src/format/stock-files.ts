// SPDX-License-Identifier: Apache-2.0

/**
 * The configuration files that enroot ships, by their place below /etc/enroot. A file with one of these digests is not run or
 * read: a part of bundler that does the same serves it, named as the file is without its ending. A file of such a name with
 * other contents was changed by an administrator and takes that part's place.
 */
export interface StockFile {
  readonly path: string;
  /** Versions of enroot that ship these bytes, from 3.0.0 on: its tags on GitHub, and the main branch of 2026-04. */
  readonly version: string;
  /** SHA-256 of its content. */
  readonly digest: string;
}

// biome-ignore format: a table, one file a line
export const stockFiles: readonly StockFile[] = [
  { path: 'environ.d/10-terminal.env', version: '3.0.0 to 4.1.2', digest: 'e759938123a7148198fa9b2fabff5931ea05821d649981cfda1e02d373c3a9e3' },
  { path: 'mounts.d/10-system.fstab', version: '3.0.0 to 4.1.2', digest: '5b94c2286afc8f1049c30fc5e10d389ee5bea79f8712eba088c1651bf1a271a4' },
  { path: 'mounts.d/20-config.fstab', version: '3.0.0 to 3.4.1', digest: '2df08c11e4fddd669304a808f509f799e99a8c5158fe15809f4ef0971293907a' },
  { path: 'mounts.d/20-config.fstab', version: '3.5.0 to 4.1.2', digest: '5cfd51a57ff45ff5587809c3f66412238827cd979b7928a0a3912b9c4b250fe2' },
  { path: 'mounts.d/30-lxcfs.fstab', version: '3.0.1 to 4.1.2', digest: 'e03d422be904a0a4703f22aeb46cbc227b2cb3c3921a865c5156d61b2f9d2822' },
  { path: 'hooks.d/10-aptfix.sh', version: '3.3.0 to 3.4.0', digest: '20c236b5fb902e86cfe4e94dd39f18798ff5cf8b7d458f9e022e08f341e619f4' },
  { path: 'hooks.d/10-aptfix.sh', version: '3.4.1 to 4.1.2', digest: 'c99f3925d06bc4de393d5affbffd132ecbcc07b3fbd545508ac7b732ef8a2472' },
  { path: 'hooks.d/10-cgroups.sh', version: '3.0.0 to 3.2.0', digest: '3ab99a74129fc0ed9e0644b71df2012fb5e2041c68de766f59d7b3f50290cbcf' },
  { path: 'hooks.d/10-cgroups.sh', version: '3.3.0', digest: '2067a5cffbf0307dc03724ac28f180f6d41e24e9798c7a8f3ddbfa9a23c4c1c5' },
  { path: 'hooks.d/10-cgroups.sh', version: '3.3.1 to 3.4.0', digest: '2f20375c1e01022fcd45f818afa20c9c376a193aae8616ddc9e3cbbef848f093' },
  { path: 'hooks.d/10-cgroups.sh', version: '3.4.1', digest: '8b16dd31566c4c4b003ab08137d2ad735e544a4b676904caf38519a9c911da0b' },
  { path: 'hooks.d/10-cgroups.sh', version: '3.5.0 to 4.1.2', digest: 'da4abae069cedff1989db8bd61f64290f246b51b71ab81f26b35be56746bc758' },
  { path: 'hooks.d/10-devices.sh', version: '3.0.0 to 3.2.0', digest: 'b6ea2f3ef5b3cab43d58148ac20f11ba4a80eaa868d469b5f9fe51dbf34f9bdb' },
  { path: 'hooks.d/10-devices.sh', version: '3.3.0 to 3.4.0', digest: '5d7fba3e7e35ee8a17f367fa73a9c5ee412016a7d7570ef1a4985c6ae5e26cc4' },
  { path: 'hooks.d/10-devices.sh', version: '3.4.1 to 4.1.2', digest: '0b20811827c8dce9d8c0b62c52ada15065933b4f9843affcf178c0fd890b25b5' },
  { path: 'hooks.d/10-devices.sh', version: 'after 4.1.2', digest: '45c63ea658e548df43133f7b60d2ec52a8ccc0ac869a64ca4cd6324f4477e60e' },
  { path: 'hooks.d/10-home.sh', version: '3.0.0 to 3.2.0', digest: 'd8faf0fff0fbfe8800aafb75c10ce2deaf282565b369055f67262b2568ea030a' },
  { path: 'hooks.d/10-home.sh', version: '3.3.0 to 3.4.0', digest: '7d5896df9d99ab65c577a0ed11986fcb80a5b96af7e1adc0ade6df9011e1cdd7' },
  { path: 'hooks.d/10-home.sh', version: '3.4.1 to 4.1.2', digest: '8a23a5a394e121ba93103ffafa630885cf9988317b7c0016910ad555e1c7725d' },
  { path: 'hooks.d/10-localtime.sh', version: '3.5.0 to 4.1.2', digest: 'ab460cde3f3b54294cb9b447464077ae1e27829117434b0c9bc98e7660b5cdc5' },
  { path: 'hooks.d/10-shadow.sh', version: '3.0.0 to 3.2.0', digest: 'c76932b410f4f407a2b79e4d1397e62e4020e431edab2007aff411624cb501b0' },
  { path: 'hooks.d/10-shadow.sh', version: '3.3.0 to 3.4.0', digest: '3cd7ed37f64831658c5f21c7da055e4695b9060c0ad07e6453ad1ca67d617843' },
  { path: 'hooks.d/10-shadow.sh', version: '3.4.1 to 4.1.2', digest: 'd82843f7ed80a97ead9d91ece9a45edc722dabfbc74a03a04754328c13586fcb' },
  { path: 'hooks.d/50-mig-config.sh', version: '3.3.0', digest: '2d0faf2d9888b273ae4089914e6d80c82dd4146e1a3fcd1ca981d576d68f0c90' },
  { path: 'hooks.d/50-mig-config.sh', version: '3.3.1 to 3.4.0', digest: '7a783af18c27668d5540e0ab740d52be40dcc37158b59b8b55efd6b35975ce6b' },
  { path: 'hooks.d/50-mig-config.sh', version: '3.4.1 to 4.1.2', digest: 'a641f4ecea935c4d18b4031b9e3f67b7874c11e8d0e80cace62bba4782a4eacd' },
  { path: 'hooks.d/50-sharp.sh', version: '3.3.0 to 3.4.0', digest: '082b08d0177838c167dd3f7a40b8d00e79cdef84b7159fb6d2773fb04bbf7da1' },
  { path: 'hooks.d/50-sharp.sh', version: '3.4.1 to 3.5.0', digest: 'a557d83945fa8da143b6117aa3bca4a8187d8251b66f9a90e14966efc1477589' },
  { path: 'hooks.d/50-sharp.sh', version: '4.0.0 to 4.1.2', digest: 'e05100e6166076e270442250739447784dc65d842c47e0a72168a9baaed36f21' },
  { path: 'hooks.d/50-slurm-pmi.sh', version: '3.0.0 to 3.1.0', digest: '0a7b31d525fc8a337f6a60f4bfa93895e7512915ddbf7c029789f41c60371db8' },
  { path: 'hooks.d/50-slurm-pmi.sh', version: '3.1.1 to 3.2.0', digest: '49c6ec80cc389286c03bc2a8a666377ffee2c293f1a61745ffc8830842c01d41' },
  { path: 'hooks.d/50-slurm-pmi.sh', version: '3.3.0 to 3.4.0', digest: 'f7512738c7cd1db74bd8784537c3915641968ac5d9d40c62fc1096e502fc80e8' },
  { path: 'hooks.d/50-slurm-pmi.sh', version: '3.4.1 to 4.1.2', digest: '7ae54f34101b45f60d78798923279787268dace59efce52fa9088d9a9d47dc3a' },
  { path: 'hooks.d/50-slurm-pmi.sh', version: 'after 4.1.2', digest: 'aaf285d581d732d21f76b8752976dd7779335e35656808af689ec4af40042f68' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '3.0.0 to 3.1.0', digest: 'c81d77606b2413ce4b1031c5e743da7445ea933beac2c67c769b3909f6d3fb16' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '3.1.1 to 3.2.0', digest: 'adfd3c6e793a95ec5f62181504fbd6cb00b330d57f3cd631504444d13c82572a' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '3.3.0', digest: 'bd61f00a014e3ab7f05eaec150412e22bbb7c5081ba62e775f108daf9f451291' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '3.3.1', digest: 'dc3796cd1ff7ebb3c3c3a52c66bf3306babc5d3c64d262d067c920b1ff7a8cdf' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '3.4.0', digest: '225075326aa2331e2b64ae6c2b4bc781f65938c309aabdc626ecda67f532c5e4' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '3.4.1', digest: '0973e0c34a6ab80d8f9fc14d7cd3a013b6c091f28a921c96828981ce37bdc95f' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '3.5.0', digest: 'ab868bfe4954745d35db79f934aa557c9003e99df9ae1ae003605a02473ea9bd' },
  { path: 'hooks.d/50-slurm-pytorch.sh', version: '4.0.0 to 4.1.2', digest: '3118afb2b7743eaaafb7e3a59a9459a8bd4e55a93217bd5b0c571ce9729d227d' },
  { path: 'hooks.d/98-nvidia.sh', version: '3.0.0', digest: 'a551248dfa35c0f060f5baed65355731eba68a9a187161a82d42fa236896cc04' },
  { path: 'hooks.d/98-nvidia.sh', version: '3.0.1 to 3.1.1', digest: '48b4ecb6aca37084793fa4be87f39c010efa7fd186a6fdfe39c5c7b686807ba5' },
  { path: 'hooks.d/98-nvidia.sh', version: '3.2.0', digest: '0505de76f2953edb37330092c458024f7d9dcc59cd1fad8a64c2d9a9427425f6' },
  { path: 'hooks.d/98-nvidia.sh', version: '3.3.0 to 3.4.0', digest: '0dd026c7c7899b8d6265d67d22d1f15b79b10380fcaf65fc38decd1f9eedc1ed' },
  { path: 'hooks.d/98-nvidia.sh', version: '3.4.1 to 3.5.0', digest: 'd453e8d69e1dd3ee00f0302b7f3d2294d24d9d78e8a1d407c5bd6b8ed70072b9' },
  { path: 'hooks.d/98-nvidia.sh', version: '4.0.0 to 4.1.2', digest: '91db82ae029858eed988b76aa28835a609801a1ff131e25e1bbc1e0402d8cd7d' },
  { path: 'hooks.d/99-mellanox.sh', version: '3.0.0 to 3.0.2', digest: '037bfe4f8dee82a65969c07b0894c04033ea70a47865bff3e1b73edd4475bb4a' },
  { path: 'hooks.d/99-mellanox.sh', version: '3.1.0', digest: 'f4065e408c7bb38de7f343ac91b157a3237967c77c84621192a03a25b865310b' },
  { path: 'hooks.d/99-mellanox.sh', version: '3.1.1 to 3.2.0', digest: 'b6930ef2d8565b6f36ab53c510443ca064020c6ceaeacd3c4d1452e0bbe2743d' },
  { path: 'hooks.d/99-mellanox.sh', version: '3.3.0 to 3.4.0', digest: '54301e66fd3467f59fb6655b716f9680a973dd20a0bf4b2aa67753a66ce5f335' },
  { path: 'hooks.d/99-mellanox.sh', version: '3.4.1 to 3.5.0', digest: 'f36ef3b03ac26a73823eed7509a5e65d76e3c85147a60e615aa890eb421efdcc' },
  { path: 'hooks.d/99-mellanox.sh', version: '4.0.0 to 4.1.2', digest: '43bd5509a3fd1e2c2d8cd427135a91bba4164ba97094eee0ea4ac5701ff9273f' },
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
