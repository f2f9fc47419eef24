// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { describeBundle, writeInfo } from '../../runtime/info.ts';
import { makeInput } from './launch-fixture.ts';

const infoOf = (rcProvenance: string) => {
  const { manifest, request } = makeInput({ rootfs: { rcProvenance } });
  return describeBundle(manifest, request);
};

describe('--info', () => {
  test('tells where import had the image from', () => {
    const info = infoOf('# enroot-provenance: docker://registry-1.docker.io#library/debian:12');
    expect(info.importedFrom).toBe('docker://registry-1.docker.io#library/debian:12');
    expect(writeInfo(info)).toContain('\nImported from: docker://registry-1.docker.io#library/debian:12\n');
  });

  test('says nothing of it where the image does not', () => {
    expect(infoOf('').importedFrom).toBe('');
    expect(writeInfo(infoOf(''))).not.toContain('Imported');
  });

  test('shows no control character of it', () => {
    expect(writeInfo(infoOf('# enroot-provenance: x\x1b[2J'))).toContain('\nImported from: x\\x1b[2J\n');
  });
});
