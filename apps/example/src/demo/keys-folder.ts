import { readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a thief or a vandal sees who can read and write the folder of the file store, but has not the key-encryption key. */
export class KeysFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** The key set as it is stored. */
  async read(): Promise<StoredKeySet> {
    const { revision, document } = (await this.#current()).content;
    return { revision, ...(JSON.parse(document) as StoredDocument) };
  }

  /** Puts another document under the same revision and etag, in one go. */
  async alter(change: (document: StoredDocument) => void): Promise<void> {
    const { file, content } = await this.#current();
    const document = JSON.parse(content.document) as StoredDocument;
    change(document);
    const other = `${file}.other`;
    await writeFile(other, JSON.stringify({ ...content, document: JSON.stringify(document) }), {
      mode: 0o600,
    });
    await rename(other, file);
  }

  /** Every file below the folder. */
  async files(): Promise<{ readonly path: string; readonly mode: number; readonly content: Buffer }[]> {
    const paths = (await readdir(this.path, { recursive: true })).map((name) => join(this.path, name));
    const files = await Promise.all(paths.map(async (path) => ({ path, stats: await stat(path) })));
    return Promise.all(
      files
        .filter(({ stats }) => stats.isFile())
        .map(async ({ path, stats }) => ({ path, mode: stats.mode & 0o777, content: await readFile(path) })),
    );
  }

  async #current(): Promise<{
    readonly file: string;
    readonly content: { revision: number; document: string };
  }> {
    const folder = join(this.path, 'default');
    const name =
      (await readdir(folder))
        .filter((entry) => /^keyset\.\d+\.json$/.test(entry))
        .toSorted()
        .at(-1) ?? '';
    const file = join(folder, name);
    return {
      file,
      content: JSON.parse(await readFile(file, 'utf8')) as { revision: number; document: string },
    };
  }
}

export interface StoredDocument {
  readonly keys: { kid: string; publicJwk: object; hasPrivateKey: boolean }[];
  readonly sealed: { ciphertext: string };
}

export interface StoredKeySet extends StoredDocument {
  readonly revision: number;
}
