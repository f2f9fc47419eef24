// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { parseRegistryReference } from '../reference/parse-reference.ts';

/** What may stand in an index (OCI image-spec, annotations.md, org.opencontainers.image.ref.name). */
const refName = /^[A-Za-z0-9]+(([-._:@+]|--)[A-Za-z0-9]+)*(\/[A-Za-z0-9]+(([-._:@+]|--)[A-Za-z0-9]+)*)*$/;

/** The name of a container or a file as that of an image, with the tag `latest`: what no engine takes becomes `-`. */
export function nameImage(name: string): string {
  const repository = name
    .toLowerCase()
    .replace(/[^a-z0-9._]+/g, '-')
    .replace(/[._-]{2,}/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '');
  return `${repository === '' ? 'image' : repository}:latest`;
}

/** Throws Failure for a name that an image cannot have in a format: engines read that of a docker archive as a reference, an index takes more. */
export function checkImageName(name: string, format: string): void {
  if (format === 'docker-archive') {
    parseRegistryReference(`docker://${name}`);
  } else if (!refName.test(name)) {
    throw new Failure(`cannot call an image ${JSON.stringify(name)}: it is no reference`, {
      hint: 'take letters and digits, with - . _ : + / between them',
    });
  }
}
