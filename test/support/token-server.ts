// SPDX-License-Identifier: Apache-2.0
// A token server for docker-registry (distribution "Token Authentication"): signs JSON Web Tokens (RS256) with a key of its own.
import { execFileSync } from 'node:child_process';
import { createSign, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { sessionDir } from './session.ts';

/** A request for a token, as it came. */
export interface TokenAsk {
  readonly method: string;
  readonly scopes: readonly string[];
  readonly service: string;
  readonly account: string;
  /** Whose password or identity token came with it; '' for nobody's. */
  readonly user: string;
  /** Of a POST: grant_type. */
  readonly grant: string;
}

export interface TokenServerOptions {
  /** Whether those without a password get tokens to pull (true unless told). */
  readonly anonymousPull?: boolean;
  /** What it says in expires_in; null: nothing. 300 unless told. (docker-registry itself takes a token until a minute after its end.) */
  readonly lifeSeconds?: number | null;
  /** Where the answer has the token: `token` unless told. */
  readonly field?: 'token' | 'access_token';
}

export interface TokenServer {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  readonly certificateFile: string;
  /** The one user, its password and its identity token. */
  readonly user: string;
  readonly password: string;
  readonly identityToken: string;
  /** All asks so far. */
  readonly asks: readonly TokenAsk[];
  /** All tokens handed out so far. */
  readonly tokens: readonly string[];
  /** The next asks get these statuses instead of a token. */
  failNext(...statuses: number[]): void;
  /** An access token that needs no asking (a "registry token"). */
  sign(scopes: readonly string[]): string;
  stop(): Promise<void>;
}

export async function startTokenServer(options: TokenServerOptions = {}): Promise<TokenServer> {
  const { anonymousPull = true, lifeSeconds = 300, field = 'token' } = options;
  const directory = mkdtempSync(path.join(sessionDir(), 'token-server-'));
  const keyFile = path.join(directory, 'key.pem');
  const certificateFile = path.join(directory, 'certificate.pem');
  const subject = ['-subj', '/CN=token-server', '-days', '2'];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', keyFile, '-out', certificateFile, ...subject],
    { stdio: 'ignore' },
  );
  const key = readFileSync(keyFile);
  const chain = [readFileSync(certificateFile, 'utf8').replace(/-----[A-Z ]+-----|\s/g, '')];
  const service = 'test registry';
  const issuer = 'test issuer';
  const user = 'pusher';
  const password = 'token server: s3cret+%/';
  const identityToken = 'identity-token-of-pusher';
  const asks: TokenAsk[] = [];
  const tokens: string[] = [];
  const failures: number[] = [];

  function sign(scopes: readonly string[], subject = ''): string {
    const access = scopes.map((scope) => {
      const parts = scope.split(':');
      return { type: parts[0], name: parts.slice(1, -1).join(':'), actions: parts.at(-1)?.split(',') };
    });
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: issuer,
      sub: subject,
      aud: service,
      exp: now + 300,
      nbf: now - 10,
      iat: now,
      jti: randomUUID(),
      access,
    };
    const unsigned = [{ typ: 'JWT', alg: 'RS256', x5c: chain }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    const token = `${unsigned}.${createSign('RSA-SHA256').update(unsigned).sign(key, 'base64url')}`;
    tokens.push(token);
    return token;
  }

  function answer(ask: TokenAsk, wrong: boolean, response: ServerResponse): void {
    asks.push(ask);
    const failure = failures.shift();
    if (failure !== undefined) {
      send(response, failure, { details: 'told to fail' });
    } else if (wrong || (ask.user === '' && !anonymousPull)) {
      send(response, 401, { errors: [{ code: 'UNAUTHORIZED', message: 'wrong user or password' }] });
    } else {
      const granted = ask.scopes.map((scope) => (ask.user === '' ? scope.replace(/:[^:]*$/, ':pull') : scope));
      const life = lifeSeconds === null ? {} : { expires_in: lifeSeconds };
      send(response, 200, { [field]: sign(granted, ask.user), ...life });
    }
  }

  const server = createServer((request, response) => {
    void readAsk(request, { user, password, identityToken }).then(({ ask, wrong }) => answer(ask, wrong, response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  return {
    realm,
    service,
    issuer,
    certificateFile,
    user,
    password,
    identityToken,
    asks,
    tokens,
    failNext: (...statuses) => failures.push(...statuses),
    sign,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function send(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

async function readAsk(
  request: IncomingMessage,
  known: { user: string; password: string; identityToken: string },
): Promise<{ ask: TokenAsk; wrong: boolean }> {
  const method = request.method ?? '';
  if (method === 'POST') {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const form = new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
    const wrong = form.get('refresh_token') !== known.identityToken;
    const scopes = (form.get('scope') ?? '').split(' ');
    const ask = { method, scopes, service: form.get('service') ?? '', account: '', user: wrong ? '' : known.user };
    return { ask: { ...ask, grant: form.get('grant_type') ?? '' }, wrong };
  }
  const { searchParams } = new URL(request.url ?? '', 'http://localhost');
  const [, encoded = ''] = /^Basic (.*)$/.exec(request.headers.authorization ?? '') ?? [];
  const isRight = Buffer.from(encoded, 'base64').toString('utf8') === `${known.user}:${known.password}`;
  const ask = {
    method,
    scopes: searchParams.getAll('scope'),
    service: searchParams.get('service') ?? '',
    account: searchParams.get('account') ?? '',
    user: isRight ? known.user : '',
    grant: '',
  };
  return { ask, wrong: encoded !== '' && !isRight };
}
