/** Seconds as a number (fractions allowed), or a text as jose takes it: `'90d'`, `'15m'`, `'30 seconds'`. */
export type Duration = number | string;

const units: Readonly<Record<string, number>> = {
  s: 1,
  m: 60,
  h: 3600,
  d: 86_400,
  w: 604_800,
  y: 31_557_600,
};
const durationPattern =
  /^(\d+(?:\.\d+)?) ?(?:(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?|(h)(?:(?:ou)?rs?)?|(d)(?:ays?)?|(w)(?:eeks?)?|(y)(?:(?:ea)?rs?)?)$/i;

/** What a value is, for messages: its kind, never its content (it may be a secret in the wrong place). */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'undefined';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (typeof value === 'number') return `the number ${value}`;
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'string')
    return value === '' ? 'an empty string' : `a string of ${value.length} characters`;
  if (typeof value === 'object') return 'an object';
  return `a ${typeof value}`;
}

/** The `TypeError` for misuse. `rule` completes the sentence: `"name" must …, got …`. */
export function misuse(name: string, rule: string, value: unknown): TypeError {
  return new TypeError(`"${name}" must ${rule}, got ${kindOf(value)}`);
}

/** Refuses anything but a plain options object, and names a misspelt option instead of ignoring it. */
export function checkOptions(options: unknown, where: string, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw misuse(where, 'be given an options object', options);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw new TypeError(`"${name}" is not an option of ${where}. It takes: ${known.join(', ')}`);
    }
  }
}

/** A duration in milliseconds, rounded to whole ones. */
export function milliseconds(value: unknown, name: string): number {
  const rule = "be seconds as a number, or a text like '90d', '15m', '30s'";
  if (typeof value === 'number') {
    if (!Number.isFinite(value) || value < 0) throw misuse(name, `${rule}, not negative`, value);
    return checkedMilliseconds(value, name);
  }
  const match = typeof value === 'string' ? durationPattern.exec(value) : null;
  if (match === null) throw misuse(name, rule, value);
  const [, amount, ...unitGroups] = match;
  const unit = unitGroups.find((group) => group !== undefined)?.toLowerCase() ?? 's';
  return checkedMilliseconds(Number(amount) * (units[unit] ?? 1), name);
}

function checkedMilliseconds(seconds: number, name: string): number {
  const result = Math.round(seconds * 1000);
  // A thousand years: beyond it, sums with epoch times would leave what a date can hold.
  if (result > 31_557_600_000_000) throw misuse(name, 'be at most 1000 years', seconds);
  return result;
}

/** Milliseconds as seconds for a message: `637.5`. */
export function inSeconds(ms: number): string {
  return String(Math.round(ms) / 1000);
}

export function checkInteger(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw misuse(name, `be a whole number from ${min} to ${max}`, value);
  }
  return value;
}

export function checkText(value: unknown, name: string, maxLength = 1024): string {
  if (typeof value !== 'string' || value === '' || value.length > maxLength) {
    throw misuse(name, `be a text of 1 to ${maxLength} characters`, value);
  }
  return value;
}

/** A text, or a list of at least one. Gives a copy. */
export function checkTexts(value: unknown, name: string): string | readonly string[] {
  return Array.isArray(value) ? checkTextList(value, name) : checkText(value, name);
}

/** A list of at least one text. Gives a copy. */
export function checkTextList(value: unknown, name: string): readonly string[] {
  if (!Array.isArray(value) || value.length === 0)
    throw misuse(name, 'be an array of at least one text', value);
  return value.map((entry, index) => checkText(entry, `${name}[${index}]`));
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw misuse(name, 'be true or false', value);
  return value;
}

export function checkOneOf<const Choice extends string>(
  value: unknown,
  name: string,
  choices: readonly Choice[],
): Choice {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw misuse(name, `be one of ${choices.join(', ')}`, value);
  return found;
}

/** Whether `value` is an object that has all these methods: how ports are recognised. */
export function checkMethods(value: unknown, name: string, methods: readonly string[]): void {
  const missing = methods.filter(
    (method) =>
      typeof value !== 'object' || value === null || typeof Reflect.get(value, method) !== 'function',
  );
  if (missing.length > 0)
    throw misuse(name, `be an object with ${missing.map((method) => `${method}()`).join(', ')}`, value);
}

/**
 * Checks the name of a key set: 1 to 128 of `A–Z a–z 0–9 . _ : -`, the first a letter or digit, so that it can stand in a
 * file name, a Redis key and a KMS encryption context without escaping. Names that differ only in case are different
 * (a file system that ignores case cannot hold both). Stores call it with their option.
 *
 * @throws {TypeError} if it is anything else.
 */
export function checkNamespace(value: unknown, name = 'namespace'): string {
  if (typeof value !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/.test(value)) {
    throw misuse(name, 'be 1 to 128 letters, digits or . _ : - and begin with a letter or digit', value);
  }
  return value;
}
