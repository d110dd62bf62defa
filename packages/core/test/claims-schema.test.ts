import { type } from 'arktype';
import * as v from 'valibot';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import type { ClaimsSchema } from '../src/index.ts';
import { memoryReplayStore } from '../../store-memory/src/index.ts';
import { rejection, setUp, verdict } from './support/authorities.ts';

const roles = ['admin', 'user'] as const;
const schemas = {
  zod: z.object({ sub: z.string(), role: z.enum(roles) }),
  valibot: v.object({ sub: v.string(), role: v.picklist(roles) }),
  arktype: type({ sub: 'string', role: "'admin' | 'user'" }),
};
const names = ['zod', 'valibot', 'arktype'] as const;

describe('claims that a schema checks and types', () => {
  it('are typed by each of the libraries', async () => {
    const { authority } = await setUp();
    const { token } = await authority.sign({ sub: 'user-1', role: 'admin' });
    const byZod = await authority.verify(token, { schema: schemas.zod });
    const byValibot = await authority.verify(token, { schema: schemas.valibot });
    const byArktype = await authority.verify(token, { schema: schemas.arktype });

    expectTypeOf(byZod).toEqualTypeOf<{ sub: string; role: 'admin' | 'user' }>();
    expectTypeOf(byValibot.role).toEqualTypeOf<'admin' | 'user'>();
    expectTypeOf(byArktype.role).toEqualTypeOf<'admin' | 'user'>();
    for (const { role } of [byZod, byValibot, byArktype]) expect(role).toBe('admin');
  });

  it.each(names)(
    '%s: a token whose claims do not fit is refused, and the message says which, not what they are',
    async (name) => {
      const { authority } = await setUp();
      const { token } = await authority.sign({ sub: 'user-1', role: 'secret-value' });
      const error = await rejection(
        authority.verify<{ role: 'admin' | 'user' }>(token, { schema: schemas[name] }),
      );
      expect(error).toMatchObject({
        code: 'invalid_claim',
        message: 'The claims do not fit the schema: see "role"',
      });
    },
  );

  it('gives what the schema makes of them', async () => {
    const { authority } = await setUp();
    const { token } = await authority.sign({ scope: 'orders:read orders:write' });
    const schema = z.object({ scope: z.string().transform((scope) => scope.split(' ')) });
    const { claims, kid } = await authority.verifyWithHeader(token, { schema });
    expect(claims).toEqual({ scope: ['orders:read', 'orders:write'] });
    expect(kid).toBe(await authority.getCurrentKid());
  });

  it('may be checked asynchronously, and as a whole', async () => {
    const { authority } = await setUp();
    const { token } = await authority.sign({ sub: 'user-1' });
    const schema = z.object({ sub: z.string() }).refine(async () => Promise.resolve(false));
    expect((await rejection(authority.verify(token, { schema }))).message).toBe(
      'The claims do not fit the schema: see the claims set',
    );
  });

  it('are looked at last: a token that is not good is not shown to the schema', async () => {
    const { authority, clock } = await setUp();
    const { token } = await authority.sign({ sub: 'user-1' });
    await clock.advance('2h');
    let asked = false;
    const schema: ClaimsSchema<{ sub: string }> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: () => {
          asked = true;
          return { value: { sub: 'x' } };
        },
      },
    };
    expect(await verdict(authority.verify(token, { schema }))).toBe('expired');
    expect(asked).toBe(false);
  });

  it('a one-time token that does not fit is not used up, and one whose jti the schema drops is', async () => {
    const { authority } = await setUp({ replayStore: memoryReplayStore() });
    const { token } = await authority.sign({ sub: 'user-1', role: 'user' }, { jti: true });
    const admin = z.object({ role: z.literal('admin') });
    expect(await verdict(authority.verifyOnce(token, { schema: admin }))).toBe('invalid_claim');
    expect(await authority.verifyOnce(token, { schema: schemas.zod })).toEqual({
      sub: 'user-1',
      role: 'user',
    });
    expect(await verdict(authority.verifyOnce(token, { schema: schemas.zod }))).toBe('replayed');
    const { token: another } = await authority.sign({ sub: 'user-1', role: 'user' }, { jti: true });
    expect(
      await verdict(authority.verifyOnce(another, { schema: schemas.zod })),
      'each token is claimed by its own jti, which the schema has dropped',
    ).toBe('accepted');
  });

  it.each([5, 'x', null, {}, { '~standard': {} }, { parse() {} }])(
    '%j is no schema: a TypeError',
    async (schema) => {
      const { authority } = await setUp();
      const { token } = await authority.sign({});
      // Deliberately wrong, as from JavaScript.
      const options = { schema } as unknown as { schema: ClaimsSchema<object> };
      await expect(authority.verify(token, options as object)).rejects.toThrow(
        /^"schema" must be a Standard Schema/,
      );
    },
  );
});
