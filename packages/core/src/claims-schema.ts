import { JwtAuthorityError } from './errors.ts';
import { misuse } from './options.ts';

/**
 * What says how the claims must look, and types them: a schema of zod, valibot, arktype, or any other library that follows
 * Standard Schema version 1 (https://standardschema.dev). `Claims` is what it gives back: also transformed, or with members
 * left out, if the schema does so.
 */
export interface ClaimsSchema<Claims> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Claims> | Promise<SchemaResult<Claims>>;
    readonly types?: { readonly input: unknown; readonly output: Claims } | undefined;
  };
}

type SchemaResult<Claims> =
  | { readonly value: Claims; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

interface SchemaIssue {
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** @throws {TypeError} */
export function checkSchema(schema: unknown): void {
  // A schema of arktype is a function.
  const isHolder = (typeof schema === 'object' && schema !== null) || typeof schema === 'function';
  const standard: unknown = isHolder ? Reflect.get(schema, '~standard') : undefined;
  const validate: unknown =
    typeof standard === 'object' && standard !== null ? Reflect.get(standard, 'validate') : undefined;
  if (typeof validate !== 'function') {
    throw misuse(
      'schema',
      'be a Standard Schema (of zod 3.24 or later, valibot 1, arktype 2 or the like)',
      schema,
    );
  }
}

/**
 * What the schema makes of the claims.
 *
 * @throws `JwtAuthorityError` with code `invalid_claim`, which names the claims that do not fit and says nothing of their values.
 */
export async function applySchema<Claims>(schema: ClaimsSchema<Claims>, claims: object): Promise<Claims> {
  const result = await schema['~standard'].validate(claims);
  if (result.issues === undefined) return result.value;
  const names = new Set(result.issues.map(({ path = [] }) => nameOf(path[0])));
  throw new JwtAuthorityError(
    'invalid_claim',
    `The claims do not fit the schema: see ${[...names].join(', ')}`,
  );
}

function nameOf(first: PropertyKey | { readonly key: PropertyKey } | undefined): string {
  const key = typeof first === 'object' ? first.key : first;
  return key === undefined ? 'the claims set' : `"${String(key).slice(0, 100)}"`;
}
