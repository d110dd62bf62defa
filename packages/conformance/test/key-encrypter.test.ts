import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { JwtAuthorityError } from '@jwt-authority/core';
import type { KeyEncrypter } from '@jwt-authority/core';
import { describe } from 'vitest';
import { keyEncrypterCases } from '../src/index.ts';
import { type Mutant, proveSuite } from './suites.ts';

type Context = Readonly<Record<string, string>>;

/** An encrypter with AES-256-GCM, each behaviour of which can be replaced. */
class World {
  readonly kek = randomBytes(32);
  readonly otherKek = randomBytes(32);
  down = false;
  opened = 0;

  idOf = (kek: Buffer): string => `test:${kek.toString('hex', 0, 4)}`;
  associate = (context: Context): string =>
    JSON.stringify(Object.entries(context).toSorted(([one], [other]) => (one < other ? -1 : 1)));
  nonce = (_dataKey: Uint8Array): Buffer => randomBytes(12);
  seal = (kek: Buffer, nonce: Buffer, associated: string, dataKey: Uint8Array): Buffer => {
    const cipher = createCipheriv('aes-256-gcm', kek, nonce, { authTagLength: 16 }).setAAD(
      Buffer.from(associated),
    );
    return Buffer.concat([cipher.update(dataKey), cipher.final(), cipher.getAuthTag()]);
  };
  open = (kek: Buffer, nonce: Buffer, associated: string, sealed: Buffer): Uint8Array => {
    const decipher = createDecipheriv('aes-256-gcm', kek, nonce, { authTagLength: 16 }).setAAD(
      Buffer.from(associated),
    );
    decipher.setAuthTag(sealed.subarray(-16));
    return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
  };
  failed = (_encrypted: string, _dataKey?: Uint8Array): Error =>
    new JwtAuthorityError('decryption_failed', 'The text cannot be opened');
  unavailable = (): Error => new JwtAuthorityError('kek_unavailable', 'The KEK does not answer');
  reach = async (): Promise<void> => {
    if (!this.down) return;
    await sleep(20);
    throw this.unavailable();
  };
  decode = (text: string): Buffer => {
    const bytes = Buffer.from(text, 'base64url');
    if (bytes.toString('base64url') !== text) throw new Error('not canonical');
    return bytes;
  };
  adjust = (encrypter: KeyEncrypter): KeyEncrypter => encrypter;

  make(kek: Buffer): KeyEncrypter {
    this.opened += 1;
    const id = this.idOf(kek);
    return this.adjust({
      id,
      canDecrypt: (encrypted) => encrypted.startsWith(`${id}:`),
      encrypt: async (dataKey, context) => {
        await this.reach();
        const nonce = this.nonce(dataKey);
        return `${id}:${Buffer.concat([nonce, this.seal(kek, nonce, this.associate(context), dataKey)]).toString('base64url')}`;
      },
      decrypt: async (encrypted, context) => {
        await this.reach();
        try {
          if (!encrypted.startsWith(`${id}:`)) throw new Error('another KEK');
          const bytes = this.decode(encrypted.slice(id.length + 1));
          return this.open(kek, bytes.subarray(0, 12), this.associate(context), bytes.subarray(12));
        } catch {
          throw this.failed(encrypted);
        }
      },
    });
  }
}

const suite = {
  makeWorld: () => new World(),
  cases: (world: World) =>
    keyEncrypterCases(() => world.make(world.kek), {
      patience: 300,
      openOther: () => world.make(world.otherKek),
      outage: {
        begin: async () => void (world.down = true),
        end: async () => void (world.down = false),
        deadline: 200,
      },
    }),
};

const round = 'a data-encryption key comes back, at every encrypter of the KEK';
const order = 'the fields of a context have no order';
const differ = 'two encryptions of a key differ';
const many = 'many at once do not mix';
const zero = 'the caller may zero what it gave and what it got';
const bound = 'another context fails';
const altered = 'an altered text fails';
const cut = 'a text cut short or prolonged fails';
const foreign = 'canDecrypt knows its own texts, and foreign ones fail';
const label = 'it has a label';
const secret = 'plaintext and context stand in no text, error or inspection';
const otherKek = 'another KEK does not open it';
const outage = 'an outage is an error in time that says try again';

const bind =
  (associate: (context: Context) => string) =>
  (world: World): void => {
    world.associate = associate;
  };
const sorted = (context: Context): [string, string][] =>
  Object.entries(context).toSorted(([one], [other]) => (one < other ? -1 : 1));
const withDecrypt =
  (change: (world: World, decrypt: KeyEncrypter['decrypt']) => KeyEncrypter['decrypt']) =>
  (world: World): void => {
    world.adjust = (encrypter) => ({
      ...encrypter,
      decrypt: change(world, (...given) => encrypter.decrypt(...given)),
    });
  };

const mutants: Mutant<World>[] = [
  {
    what: 'has a KEK of its own in each instance',
    caughtBy: [round],
    break: (world) => {
      const make = world.make.bind(world);
      world.idOf = () => 'test:same';
      world.make = () => make(randomBytes(32));
    },
  },
  {
    what: 'drops leading zeros',
    caughtBy: [round],
    break: withDecrypt((_world, decrypt) => async (...given) => {
      const key = await decrypt(...given);
      return key.slice(key.findIndex((byte) => byte !== 0));
    }),
  },
  {
    what: 'writes through text',
    caughtBy: [round],
    break: withDecrypt(
      (_world, decrypt) =>
        async (...given) =>
          Buffer.from(Buffer.from(await decrypt(...given)).toString()),
    ),
  },
  { what: 'minds the order of fields', caughtBy: [order], break: bind((context) => JSON.stringify(context)) },
  {
    what: 'derives the nonce from the key',
    caughtBy: [differ],
    break: (world) =>
      (world.nonce = (dataKey) => createHmac('sha256', world.kek).update(dataKey).digest().subarray(0, 12)),
  },
  {
    what: 'keeps the key of the last call',
    caughtBy: [many],
    break: (world) => {
      let last: Uint8Array = new Uint8Array(32);
      world.adjust = (encrypter) => ({
        ...encrypter,
        encrypt: async (dataKey, context) => {
          last = dataKey;
          await sleep(1);
          return encrypter.encrypt(last, context);
        },
      });
    },
  },
  {
    what: 'zeroes what it is given',
    caughtBy: [zero],
    break: (world) =>
      (world.adjust = (encrypter) => ({
        ...encrypter,
        encrypt: async (dataKey, context) => {
          const encrypted = await encrypter.encrypt(dataKey, context);
          dataKey.fill(0);
          return encrypted;
        },
      })),
  },
  {
    what: 'remembers what it was given, by reference',
    caughtBy: [zero],
    break: (world) => {
      const cache = new Map<string, Uint8Array>();
      world.adjust = (encrypter) => ({
        ...encrypter,
        encrypt: async (dataKey, context) => {
          const encrypted = await encrypter.encrypt(dataKey, context);
          cache.set(encrypted, dataKey);
          return encrypted;
        },
        decrypt: async (encrypted, context) => cache.get(encrypted) ?? encrypter.decrypt(encrypted, context),
      });
    },
  },
  {
    what: 'gives out what it keeps',
    caughtBy: [zero],
    break: withDecrypt((_world, decrypt) => {
      const cache = new Map<string, Uint8Array>();
      return async (encrypted, context) => {
        const key = cache.get(encrypted) ?? (await decrypt(encrypted, context));
        cache.set(encrypted, key);
        return key;
      };
    }),
  },
  { what: 'ignores the context', caughtBy: [bound], break: bind(() => '') },
  { what: 'binds one field', caughtBy: [bound], break: bind(({ namespace }) => namespace ?? '') },
  {
    what: 'binds the values only',
    caughtBy: [bound],
    break: bind((context) => Object.values(context).toSorted().join('\0')),
  },
  {
    what: 'binds the names only',
    caughtBy: [bound],
    break: bind((context) => Object.keys(context).toSorted().join('\0')),
  },
  {
    what: 'joins names and values',
    caughtBy: [bound],
    break: bind((context) =>
      sorted(context)
        .map((field) => field.join(''))
        .join('\0'),
    ),
  },
  {
    what: 'joins fields without lengths',
    caughtBy: [bound],
    break: bind((context) =>
      sorted(context)
        .map((field) => field.join('='))
        .join(','),
    ),
  },
  {
    what: 'ignores case in the context',
    caughtBy: [bound],
    break: bind((context) => JSON.stringify(sorted(context)).toLowerCase()),
  },
  {
    what: 'drops empty fields',
    caughtBy: [bound],
    break: bind((context) => JSON.stringify(sorted(context).filter(([, value]) => value !== ''))),
  },
  {
    what: 'does not authenticate',
    caughtBy: [altered],
    break: (world) => {
      const run = (kek: Buffer, nonce: Buffer, _associated: string, data: Uint8Array): Buffer =>
        createCipheriv('aes-256-ctr', kek, Buffer.concat([nonce, Buffer.alloc(4)])).update(data);
      world.seal = run;
      world.open = run;
    },
  },
  {
    what: 'reads base64 leniently in the middle',
    caughtBy: [altered],
    break: withDecrypt((world, decrypt) => {
      const texts: string[] = [];
      const { seal } = world;
      world.seal = (kek, nonce, associated, key) => {
        const sealed = seal(kek, nonce, associated, key);
        texts.push(Buffer.concat([nonce, sealed]).toString('base64url'));
        return sealed;
      };
      // As if the first character after the label meant nothing.
      return (encrypted, context) => {
        const text = texts.find((one) => one.slice(1) === encrypted.split(':')[2]?.slice(1));
        return decrypt(text === undefined ? encrypted : `${world.idOf(world.kek)}:${text}`, context);
      };
    }),
  },
  {
    what: 'reads as far as it needs',
    caughtBy: [cut],
    break: (world) => {
      const { open } = world;
      world.open = (kek, nonce, associated, sealed) => open(kek, nonce, associated, sealed.subarray(0, 48));
    },
  },
  {
    what: 'gives nothing for a text that is too short',
    caughtBy: [cut, foreign],
    break: withDecrypt((_world, decrypt) => async (encrypted, context) => {
      if (encrypted.length < 40) return new Uint8Array();
      return decrypt(encrypted, context);
    }),
  },
  {
    what: 'says yes to every text',
    caughtBy: [foreign, otherKek],
    break: (world) => (world.adjust = (encrypter) => ({ ...encrypter, canDecrypt: () => true })),
  },
  {
    what: 'says no to every text',
    caughtBy: [foreign],
    break: (world) => (world.adjust = (encrypter) => ({ ...encrypter, canDecrypt: () => false })),
  },
  {
    what: 'lets errors of its cipher through',
    caughtBy: [foreign, bound, altered, cut],
    break: (world) => (world.failed = () => new Error('Unsupported state or unable to authenticate data')),
  },
  {
    what: 'takes an alteration for an outage',
    caughtBy: [bound, altered],
    break: (world) => (world.failed = () => new JwtAuthorityError('kek_unavailable', 'Try again')),
  },
  {
    what: 'has no label',
    caughtBy: [label],
    break: (world) => (world.adjust = (encrypter) => ({ ...encrypter, id: '' })),
  },
  {
    what: 'has another label each time',
    caughtBy: [label],
    break: (world) => (world.adjust = (encrypter) => ({ ...encrypter, id: `test:${world.opened}` })),
  },
  {
    what: 'does not encrypt',
    caughtBy: [secret],
    break: (world) => {
      world.seal = (kek, _nonce, associated, key) =>
        Buffer.concat([key, createHmac('sha256', kek).update(key).update(associated).digest()]);
    },
  },
  {
    what: 'stores the context',
    caughtBy: [secret],
    break: (world) =>
      (world.adjust = (encrypter) => ({
        ...encrypter,
        encrypt: async (key, context) =>
          `${await encrypter.encrypt(key, context)}?${Object.values(context).join('&')}`,
      })),
  },
  {
    what: 'quotes the text in errors',
    caughtBy: [secret],
    break: (world) =>
      (world.failed = (encrypted) => new JwtAuthorityError('decryption_failed', `Cannot open ${encrypted}`)),
  },
  {
    what: 'passes a cause on',
    caughtBy: [secret],
    break: (world) =>
      (world.failed = () =>
        Object.assign(new JwtAuthorityError('decryption_failed', 'Cannot'), { cause: new Error('request') })),
  },
  {
    what: 'shows keys when it is inspected',
    caughtBy: [secret],
    break: (world) =>
      (world.adjust = (encrypter) => {
        const keys: string[] = [];
        const shown = { ...encrypter, keys };
        shown.decrypt = async (encrypted, context) => {
          const key = await encrypter.decrypt(encrypted, context);
          keys.push(Buffer.from(key).toString('hex'));
          return key;
        };
        return shown;
      }),
  },
  {
    what: 'shows keys in errors',
    caughtBy: [secret],
    break: (world) => {
      let last = '';
      const { seal } = world;
      world.seal = (kek, nonce, associated, key) => {
        last = Buffer.from(key).toString('base64');
        return seal(kek, nonce, associated, key);
      };
      world.failed = () => new JwtAuthorityError('decryption_failed', `Not ${last}`);
    },
  },
  {
    what: 'opens with every KEK',
    caughtBy: [otherKek],
    break: (world) => {
      const make = world.make.bind(world);
      world.make = () => make(world.kek);
    },
  },
  {
    what: 'throws another error in an outage',
    caughtBy: [outage],
    break: (world) => (world.unavailable = () => new JwtAuthorityError('decryption_failed', 'Cannot')),
  },
  {
    what: 'waits for ever in an outage',
    caughtBy: [outage],
    break: (world) => (world.reach = () => (world.down ? new Promise(() => undefined) : Promise.resolve())),
  },
  {
    what: 'never recovers from an outage',
    caughtBy: [outage],
    break: (world) => {
      let broken = false;
      world.reach = async () => {
        broken ||= world.down;
        if (broken) throw world.unavailable();
      };
    },
  },
];

describe('keyEncrypterCases', () => {
  proveSuite(suite, mutants);
});
