import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  IAMClient,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import type { AnyJwtAuthorityError, KeyEncrypter } from '@jwt-authority/core';
import { JwtAuthorityError } from '@jwt-authority/core';
import { type KmsServer, startKms } from '../../../test/support/kms-server.ts';

// The SDK says on every start how long it will still support this version of Node.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';

export const region = 'eu-central-1';
export const context = { namespace: 'prod', purpose: 'jwt-authority/key-set' };

/** An account of its own on a KMS of its own, for the tests of one file. */
export class Account {
  readonly server: KmsServer;
  /** As root. */
  readonly kms: KMSClient;
  readonly #iam: IAMClient;
  readonly #clients: KMSClient[] = [];
  #users = 0;

  private constructor(server: KmsServer) {
    this.server = server;
    this.kms = this.client();
    const { endpoint, credentials } = server;
    this.#iam = new IAMClient({ endpoint, region, credentials });
  }

  static async start(): Promise<Account> {
    return new Account(await startKms());
  }

  async stop(): Promise<void> {
    for (const client of [...this.#clients, this.#iam]) client.destroy();
    await this.server.stop();
  }

  client(config: ConstructorParameters<typeof KMSClient>[0] = {}): KMSClient {
    const { endpoint, credentials } = this.server;
    const client = new KMSClient({ endpoint, region, credentials, ...config });
    this.#clients.push(client);
    return client;
  }

  /** The ARN of a new key. */
  async createKey(settings: ConstructorParameters<typeof CreateKeyCommand>[0] = {}): Promise<string> {
    const { KeyMetadata } = await this.kms.send(new CreateKeyCommand(settings));
    return defined(KeyMetadata?.Arn);
  }

  async createAlias(alias: string, key: string): Promise<void> {
    await this.kms.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId: key }));
  }

  /** The credentials of a new user who has this policy and no other. */
  async createUser(policy: object): Promise<{ accessKeyId: string; secretAccessKey: string }> {
    this.#users += 1;
    const UserName = this.lastUser;
    await this.#iam.send(new CreateUserCommand({ UserName }));
    await this.setPolicy(UserName, policy);
    const { AccessKey } = await this.#iam.send(new CreateAccessKeyCommand({ UserName }));
    return {
      accessKeyId: defined(AccessKey?.AccessKeyId),
      secretAccessKey: defined(AccessKey?.SecretAccessKey),
    };
  }

  /** The name of the last one made. */
  get lastUser(): string {
    return `user-${this.#users}`;
  }

  async setPolicy(user: string, policy: object): Promise<void> {
    const PolicyDocument = JSON.stringify(policy);
    await this.#iam.send(
      new PutUserPolicyCommand({ UserName: user, PolicyName: 'jwt-authority', PolicyDocument }),
    );
  }
}

function defined<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('KMS gave no value');
  return value;
}

/** The error of ours that `work` fails with. */
export async function failure(work: Promise<unknown>): Promise<AnyJwtAuthorityError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!JwtAuthorityError.is(error)) throw new Error('it must fail with an error of ours', { cause: error });
  return error;
}

export async function wrap(encrypter: KeyEncrypter, dataKey: Uint8Array = someKey()): Promise<string> {
  return encrypter.encrypt(dataKey.slice(), context);
}

export async function unwrap(encrypter: KeyEncrypter, encrypted: string): Promise<Uint8Array> {
  return encrypter.decrypt(encrypted, context);
}

export function someKey(): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, index) => index + 1);
}
