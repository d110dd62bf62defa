import {
  CreateKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  KMSClient,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import { kmsEncrypter } from '@jwt-authority/encrypt-kms';
import { startKms, type KmsServer } from '../../../test/support/kms-server.ts';
import { startProxy, type Proxy } from '../src/proxy.ts';
import { WatchedKek } from '../src/watched-kek.ts';

export interface Kms {
  readonly server: KmsServer;
  /** The way that encrypters take to it. */
  readonly proxy: Proxy;
  readonly makeKey: () => Promise<string>;
  readonly disable: (keyId: string) => Promise<void>;
  readonly enable: (keyId: string) => Promise<void>;
  readonly scheduleDeletion: (keyId: string) => Promise<void>;
  readonly open: (keyId: string) => WatchedKek;
  readonly client: (endpoint?: string) => KMSClient;
  readonly stop: () => Promise<void>;
}

/** The KMS server of the tests, behind a proxy that can be cut. */
export async function openKms(): Promise<Kms> {
  const server = await startKms();
  const proxy = await startProxy(new URL(server.endpoint));
  const { credentials } = server;
  const client = (endpoint = `http://127.0.0.1:${proxy.port}`): KMSClient =>
    new KMSClient({
      endpoint,
      credentials,
      region: 'eu-central-1',
      requestHandler: { connectionTimeout: 400, requestTimeout: 400, throwOnRequestTimeout: true },
    });
  const admin = client(server.endpoint);
  return {
    server,
    proxy,
    client,
    async makeKey() {
      const { KeyMetadata } = await admin.send(new CreateKeyCommand({}));
      if (KeyMetadata?.Arn === undefined) throw new Error('no key was made');
      return KeyMetadata.Arn;
    },
    disable: async (KeyId) => void (await admin.send(new DisableKeyCommand({ KeyId }))),
    enable: async (KeyId) => void (await admin.send(new EnableKeyCommand({ KeyId }))),
    scheduleDeletion: async (KeyId) =>
      void (await admin.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }))),
    open: (keyId) => new WatchedKek(kmsEncrypter({ client: client(), keyId, timeout: 1 })),
    async stop() {
      await proxy.close();
      await server.stop();
    },
  };
}
