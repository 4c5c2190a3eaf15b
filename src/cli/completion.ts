import type { Command } from './command.ts';
import { EXIT, UsageError } from './exit.ts';

export const completion: Command = {
  name: 'completion',
  takes: 'bash|zsh|fish',
  least: 1,
  most: 1,
  summary: 'A script by which a shell completes kubectl-pointsman',
  about: `The script is for kubectl-pointsman by its own name. For "kubectl pointsman", kubectl's own completion asks a program
of the name kubectl_complete-pointsman on the PATH: link it to kubectl-pointsman.

  bash:  source <(kubectl pointsman completion bash)
  zsh:   source <(kubectl pointsman completion zsh)
  fish:  kubectl pointsman completion fish | source`,
  options: {},
  formats: [],
  async run({ words: [shell = ''], terminal }) {
    const script = SCRIPTS[shell];
    if (script === undefined)
      throw new UsageError(`There is no completion for "${shell}"; there is ${Object.keys(SCRIPTS).join(', ')}`);
    terminal.out(script);
    return EXIT.ok;
  },
};

/** Each hands over the words up to the cursor, the last of them perhaps empty, and drops the line that is for kubectl. */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_kubectl_pointsman() {
  local IFS=$'\\n'
  COMPREPLY=($(kubectl-pointsman __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | grep -v '^:' | cut -f1))
}
complete -F _kubectl_pointsman kubectl-pointsman
`,
  zsh: `_kubectl_pointsman() {
  local -a found
  found=(\${(f)"$(kubectl-pointsman __complete "\${(@)words[2,CURRENT]}" 2>/dev/null | grep -v '^:' | sed 's/:/\\\\:/g;s/\\t/:/')"})
  _describe 'kubectl-pointsman' found
}
compdef _kubectl_pointsman kubectl-pointsman
`,
  fish: `function __kubectl_pointsman
  set -l words (commandline -opc) (commandline -ct)
  kubectl-pointsman __complete $words[2..-1] 2>/dev/null | string match -v ':*'
end
complete -c kubectl-pointsman -f -a '(__kubectl_pointsman)'
`,
};
