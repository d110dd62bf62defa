export {
  kmsEncrypter,
  type KmsClientOptions,
  type KmsEncrypter,
  type KmsEncrypterOptions,
  type KmsRegionOptions,
} from './encrypter.ts';
