// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { getCACertificates } from 'node:tls';
import { explain } from '../failure.ts';

/** Where systems keep their authorities in one file. */
const bundles = [
  '/etc/ssl/certs/ca-certificates.crt', // Debian, Ubuntu, Alpine, Arch, Gentoo
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', // Fedora, RHEL
  '/etc/pki/tls/certs/ca-bundle.crt', // older RHEL, CentOS
  '/etc/ssl/ca-bundle.pem', // SUSE
  '/var/lib/ca-certificates/ca-bundle.pem', // SUSE
  '/etc/ssl/cert.pem', // Alpine, BSD style
  '/etc/pki/tls/cert.pem',
  '/etc/ssl/certs/ca-bundle.crt', // NixOS
];

/**
 * PEM of the authorities that are trusted: SSL_CERT_FILE and SSL_CERT_DIR (colons between directories) when they are set, and nothing else then, as
 * with OpenSSL, curl and podman. Else the system's bundle, which has a site's own authorities, and those built into Node (Mozilla's), because the
 * bundle of an old host may lack what signs today's registries. Throws Failure when a file that was named cannot be read.
 */
export async function readTrustedAuthorities(env: Readonly<Record<string, string | undefined>>): Promise<string[]> {
  const file = env['SSL_CERT_FILE'] ?? '';
  const directories = (env['SSL_CERT_DIR'] ?? '').split(':').filter((directory) => directory !== '');
  const named = file === '' ? '' : await explain(`SSL_CERT_FILE ${file}`, () => readFile(file, 'utf8'));
  if (file !== '' || directories.length > 0) {
    const texts = (await Promise.all(directories.map(readDirectory))).flat();
    // Often both name the same authorities: parsing one a second time costs more than looking.
    return [named, ...texts.filter((text) => !named.includes(text.trim()))].filter((text) => text !== '');
  }
  for (const bundle of bundles) {
    const text = await readFile(bundle, 'utf8').catch(() => '');
    if (text.includes('-----BEGIN')) return [...getCACertificates('bundled'), text];
  }
  return [...getCACertificates('bundled')];
}

async function readDirectory(directory: string): Promise<string[]> {
  const names = await explain(`SSL_CERT_DIR ${directory}`, () => readdir(directory));
  // The hash links of openssl-rehash(1) name each certificate a second time.
  const files = names.filter((name) => /\.(pem|crt|cer)$/.test(name));
  const texts = await Promise.all(files.map((name) => readFile(path.join(directory, name), 'utf8').catch(() => '')));
  return texts.filter((text) => text.includes('-----BEGIN'));
}
