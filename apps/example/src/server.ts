import { createServer, type Server } from 'node:http';
import { jwksHandler, type JwtAuthority } from '@jwt-authority/core';
import { discoveryDocument } from './discovery.ts';
import { router, sendJson } from './http.ts';
import { requireToken } from './require-token.ts';
import { tokenEndpoint, type Client } from './token-endpoint.ts';

export interface AuthServerOptions {
  /** Its issuer must be the one given here. */
  readonly authority: JwtAuthority;
  /** The URL under which clients reach this server. */
  readonly issuer: string;
  readonly client: Client;
}

/** An HTTP server that issues tokens, guards a resource with them, and publishes the keys to verify them. Not listening yet. */
export function createAuthServer({ authority, issuer, client }: AuthServerOptions): Server {
  const audience = `${issuer}/protected`;
  const discovery = { GET: discoveryDocument(authority, issuer) };
  const answer = router({
    '/token': { POST: tokenEndpoint(authority, client, audience) },
    '/protected': {
      GET: requireToken(authority, { audience, scope: 'read' }, ({ sub, exp }, _request, response) => {
        sendJson(response, 200, { message: `hello ${sub}`, exp });
      }),
    },
    '/.well-known/jwks.json': { GET: jwksHandler(authority) },
    '/.well-known/openid-configuration': discovery,
    '/.well-known/oauth-authorization-server': discovery,
    // Ready: a load balancer takes an instance out that cannot sign. Live: only a restart helps if even this fails.
    '/health': {
      GET(_request, response) {
        const { status, since, code } = authority.keyRing.health();
        sendJson(response, status === 'fresh' ? 200 : 503, {
          status,
          since: new Date(since).toISOString(),
          code,
        });
      },
    },
    '/health/live': { GET: (_request, response) => sendJson(response, 200, { status: 'live' }) },
  });

  // Slow clients are cut off, whether they do not send or do not read.
  const limits = { headersTimeout: 5000, requestTimeout: 10_000, connectionsCheckingInterval: 1000 };
  const server = createServer(limits, (request, response) => {
    // On a server that is closing: the connection must not outlive the answer.
    response.on('close', () => setImmediate(() => server.listening || server.closeIdleConnections()));
    void answer(request, response);
  });
  return server.setTimeout(15_000);
}

/** Takes no new connections, lets requests that are under way end, for `patience` milliseconds at most. */
export async function closeServer(server: Server, patience = 10_000): Promise<void> {
  const timer = setTimeout(() => server.closeAllConnections(), patience);
  try {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  } finally {
    clearTimeout(timer);
  }
}
