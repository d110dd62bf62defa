/** Every text that is `text` with one character replaced by one of `characters`, put in, taken out, or cut off to the end. */
export function alterationsOf(text: string, characters: string): string[] {
  const altered = new Set<string>();
  for (let at = 0; at <= text.length; at++) {
    const before = text.slice(0, at);
    altered.add(before).add(before + text.slice(at + 1));
    for (const character of Array.from(characters)) {
      altered.add(before + character + text.slice(at)).add(before + character + text.slice(at + 1));
    }
  }
  altered.delete(text);
  return [...altered];
}
