export { exitCodes, type ExitCode } from './failures.ts';
export type { Configuration, EncrypterSettings, StoreSettings } from './settings.ts';
