import { misuse } from '@jwt-authority/core';

/** Where a key of KMS is. */
export interface KeyPlace {
  readonly partition: string;
  readonly region: string;
  readonly account: string;
}

/** One key, as KMS names it in its answers. */
export interface KeyArn extends KeyPlace {
  readonly text: string;
  readonly id: string;
}

/** How the caller names the key: by alias or id, and with an ARN its place too. */
export interface KeyName {
  readonly text: string;
  readonly target: { readonly alias: string } | { readonly id: string };
  readonly place: KeyPlace | undefined;
}

/** What a wrapped text holds. */
export interface WrappedKey {
  /** The alias that it was wrapped under, if it was one: it may have moved to another key since. */
  readonly alias: string | undefined;
  readonly arn: KeyArn;
  readonly ciphertext: Uint8Array;
}

const arnPattern = /^arn:(aws[a-z-]*):kms:([a-z0-9-]+):(\d{12}):(key|alias)\/([\w/-]{1,256})$/;
const aliasPattern = /^alias\/[\w/-]{1,250}$/;
const idPattern = /^[A-Za-z0-9-]{1,64}$/;
const wrappedPattern = /^kms:(?:(alias\/[\w/-]{1,250}):)?(arn:[\w:/-]{1,400}):v1:([\w-]+)$/;

/** @throws {TypeError} unless `value` is an alias, a key id, or the ARN of either. */
export function parseKeyName(value: unknown): KeyName {
  if (typeof value === 'string') {
    if (aliasPattern.test(value)) return { text: value, target: { alias: value }, place: undefined };
    if (idPattern.test(value)) return { text: value, target: { id: value }, place: undefined };
    const arn = parseArn(value);
    if (arn !== undefined) {
      const { kind, id, place } = arn;
      return { text: value, target: kind === 'key' ? { id } : { alias: `alias/${id}` }, place };
    }
  }
  throw misuse(
    'keyId',
    "be a key of AWS KMS: an alias ('alias/jwt'), a key id, or the ARN of a key or alias",
    value,
  );
}

/** The ARN that KMS returns, or `undefined` if it is none of a key. */
export function parseKeyArn(value: unknown): KeyArn | undefined {
  const arn = typeof value === 'string' ? parseArn(value) : undefined;
  if (arn?.kind !== 'key' || !idPattern.test(arn.id)) return undefined;
  return { text: arn.text, id: arn.id, ...arn.place };
}

function parseArn(
  text: string,
): { text: string; kind: 'key' | 'alias'; id: string; place: KeyPlace } | undefined {
  const match = arnPattern.exec(text);
  if (match === null) return undefined;
  const [, partition = '', region = '', account = '', kind, id = ''] = match;
  return { text, kind: kind === 'key' ? 'key' : 'alias', id, place: { partition, region, account } };
}

/** `kms:[ALIAS:]ARN:v1:DATA`. The ARN is the key that wrapped it, whatever the alias points to later. */
export function formatWrapped(name: KeyName, arn: KeyArn, ciphertext: Uint8Array): string {
  const alias = 'alias' in name.target ? `${name.target.alias}:` : '';
  return `kms:${alias}${arn.text}:v1:${Buffer.from(ciphertext).toString('base64url')}`;
}

/** `undefined` unless it is a text that {@link formatWrapped} gives. */
export function parseWrapped(text: unknown): WrappedKey | undefined {
  const match = typeof text === 'string' ? wrappedPattern.exec(text) : null;
  if (match === null) return undefined;
  const [, alias, arnText, data = ''] = match;
  const arn = parseKeyArn(arnText);
  const ciphertext = Buffer.from(data, 'base64url');
  // Only the one text that these bytes have (RFC 4648, 3.5).
  if (arn === undefined || ciphertext.toString('base64url') !== data) return undefined;
  return { alias, arn, ciphertext };
}

/** Whether a key that `name` names wrapped it, as far as can be told without asking KMS. */
export function isWrappedBy(name: KeyName, { alias, arn }: WrappedKey): boolean {
  const named = 'alias' in name.target ? alias === name.target.alias : arn.id === name.target.id;
  return named && (name.place === undefined || isAt(arn, name.place));
}

/** Whether the key can be used there: in its own region, or in any if it is a multi-region key. */
export function isAt(arn: KeyArn, place: KeyPlace): boolean {
  return (
    arn.partition === place.partition &&
    arn.account === place.account &&
    (arn.region === place.region || isMultiRegion(arn))
  );
}

/** The replicas of a multi-region key are one key, with one id and one key material. */
export function isSameKey(one: KeyArn, other: KeyArn): boolean {
  return one.id === other.id && isAt(one, other);
}

export function isMultiRegion({ id }: KeyArn): boolean {
  return id.startsWith('mrk-');
}

/** The replica of a multi-region key in another region. */
export function inRegion({ partition, account, id }: KeyArn, region: string): KeyArn {
  return {
    text: `arn:${partition}:kms:${region}:${account}:key/${id}`,
    partition,
    region,
    account,
    id,
  };
}
