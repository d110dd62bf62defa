import type { JwtAuthority } from '@jwt-authority/core';
import { sendJson, type Handler } from './http.ts';
import { scopes } from './token-endpoint.ts';

/**
 * Where everything is (RFC 8414, and OpenID Connect Discovery 1.0, which most verifiers read). There is no authorization
 * endpoint and there are no ID tokens: the only grant is client credentials.
 */
export function discoveryDocument(authority: JwtAuthority, issuer: string): Handler {
  return async (_request, response) => {
    // Those of the keys that are published, not those configured: while algorithms change, the two differ.
    const { keys } = await authority.getPublicKeys();
    const algorithms = [...new Set(keys.map(({ alg }) => alg))];
    sendJson(response, 200, {
      issuer,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/.well-known/jwks.json`,
      grant_types_supported: ['client_credentials'],
      response_types_supported: [],
      scopes_supported: scopes,
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: algorithms,
    });
  };
}
