export { memoryReplayStore, type MemoryReplayStoreOptions } from './replay-store.ts';
export { memoryStore, type MemoryStoreOptions } from './key-set-store.ts';
