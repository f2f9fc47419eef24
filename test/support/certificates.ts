// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

/** An authority of its own, in a directory. */
export interface Authority extends CertificateFiles {
  /** A certificate for these names (`DNS:localhost`, `IP:127.0.0.1`); days may be negative: it has expired then. */
  issue(name: string, subjects: readonly string[], days?: number): CertificateFiles;
}

export function makeAuthority(directory: string, name: string): Authority {
  const certificate = path.join(directory, `${name}.pem`);
  const key = path.join(directory, `${name}.key`);
  const openssl = (...argv: string[]) => execFileSync('openssl', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...newKey, '-keyout', key, '-out', certificate, '-days', '30', '-subj', `/CN=${name}`);
  return {
    certificate,
    key,
    issue: (leaf, subjects, days = 10) => {
      const files = { certificate: path.join(directory, `${leaf}.pem`), key: path.join(directory, `${leaf}.key`) };
      const request = path.join(directory, `${leaf}.csr`);
      const extensions = path.join(directory, `${leaf}.ext`);
      writeFileSync(extensions, `subjectAltName=${subjects.join(',')}\n`);
      openssl('req', ...newKey, '-keyout', files.key, '-out', request, '-subj', `/CN=${leaf}`);
      const signer = ['-CA', certificate, '-CAkey', key, '-CAcreateserial', '-extfile', extensions];
      openssl('x509', '-req', '-in', request, ...signer, '-days', String(days), '-out', files.certificate);
      return files;
    },
  };
}
