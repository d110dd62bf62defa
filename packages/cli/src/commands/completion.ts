import type { Command } from 'commander';
import type { Report } from '../commands.ts';

/** A script for bash, and for zsh by its bashcompinit, made of the commands and flags as they are. */
export async function completion(program: Command): Promise<Report> {
  const flagsOf = (command: Command): string[] => command.options.flatMap(({ long }) => (long ? [long] : []));
  const common = flagsOf(program);
  const cases = program.commands.map(
    (command) => `    ${command.name()}) words="${[...flagsOf(command), ...common].join(' ')}" ;;`,
  );
  const script = [
    '[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit',
    '_jwt_authority() {',
    '  local words',
    '  case "${COMP_WORDS[1]}" in',
    ...cases,
    `    *) words="${[...program.commands.map((command) => command.name()), ...common].join(' ')}" ;;`,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
    '}',
    'complete -o default -F _jwt_authority jwt-authority',
  ].join('\n');
  return { data: { script }, text: script };
}
