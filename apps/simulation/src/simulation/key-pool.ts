import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Algorithm, KeyPair } from '@jwt-authority/core';
import { Random } from './random.ts';

// RFC 8410: what stands before the 32 bytes of an Ed25519 private key in PKCS#8.
const ed25519Prefix = Buffer.from('302e020100300506032b657004220420', 'hex');

interface PooledKey {
  readonly privateKey: KeyObject;
  readonly publicJwk: KeyPair['publicJwk'];
  /** Texts that must never be seen in clear: the private bytes in the encodings that a leak would use. */
  readonly secrets: readonly string[];
}

const ed25519Keys: PooledKey[] = [];
const rsaKeys: PooledKey[] = [];
const source = new Random(0x5eed);
const rsaKeysMade = 12;

/** What base64url of a longer text looks like, in the middle of which these bytes stand at this offset from a multiple of 3. */
function aligned(bytes: Buffer, offset: number): string {
  return Buffer.concat([Buffer.alloc(offset), bytes])
    .toString('base64url')
    .slice(4, 40);
}

function ed25519Key(index: number): PooledKey {
  while (ed25519Keys.length <= index) {
    const bytes = Buffer.from(source.bytes(32));
    const privateKey = createPrivateKey({
      key: Buffer.concat([ed25519Prefix, bytes]),
      format: 'der',
      type: 'pkcs8',
    });
    const { kty = '', crv = '', x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
    const secrets = [
      bytes.toString('hex').slice(0, 60),
      ...[0, 1, 2].map((offset) => aligned(bytes, offset)),
    ];
    ed25519Keys.push({ privateKey, publicJwk: { kty, crv, x }, secrets });
  }
  const key = ed25519Keys[index];
  if (key === undefined) throw new Error('no such key');
  return key;
}

function rsaKey(index: number): PooledKey {
  while (rsaKeys.length < rsaKeysMade) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const { kty = '', n = '', e = '', d = '' } = privateKey.export({ format: 'jwk' });
    rsaKeys.push({ privateKey, publicJwk: { kty, n, e }, secrets: [d.slice(0, 40)] });
  }
  const key = rsaKeys[index % rsaKeysMade];
  if (key === undefined) throw new Error('no such key');
  return key;
}

/** A key pair that a simulated instance makes, and what must not leak of it. */
export interface MadeKey {
  readonly pair: KeyPair;
  readonly secrets: readonly string[];
}

/**
 * Key pair number `index` of a history. Ed25519 from a seed: real keys and real signatures at a tenth of the cost of RSA,
 * and the same ones in every run; the rotation rules do not look at what is in a key. RSA comes from a small pool, whose
 * keys stand under several kids. The kid is a short name, for the timeline; core takes any.
 */
export function makeKey(alg: Algorithm, index: number, maker: string): MadeKey {
  const isRsa = alg.startsWith('RS') || alg.startsWith('PS');
  const { privateKey, publicJwk, secrets } = isRsa ? rsaKey(index) : ed25519Key(index);
  return { pair: { kid: `${maker}${index}`, alg, publicJwk, privateKey }, secrets };
}
