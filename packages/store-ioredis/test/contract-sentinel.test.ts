import { sentinelSet, testContracts } from './contract.ts';

testContracts('sentinels', sentinelSet, { freeze: false });
