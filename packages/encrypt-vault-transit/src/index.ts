export {
  vaultTransitEncrypter,
  type VaultTransitEncrypter,
  type VaultTransitEncrypterOptions,
} from './encrypter.ts';
export type { VaultClient } from './requests.ts';
export type { Binding } from './wrapped-text.ts';
