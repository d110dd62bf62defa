import { parseArgs } from 'node:util';
import { fuzzDocuments } from './fuzz-documents.ts';
import { fuzzTokens } from './fuzz-tokens.ts';

const { values } = parseArgs({
  options: { tokens: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } },
});
Error.stackTraceLimit = 0;
const documents = await fuzzDocuments();
console.log({ ...documents, failures: documents.failures.slice(0, 20) });
const tokens = await fuzzTokens(Number(values.tokens), Number(values.seed));
console.log({ ...tokens, failures: tokens.failures.slice(0, 20) });
process.exitCode = documents.failures.length + tokens.failures.length === 0 ? 0 : 1;
