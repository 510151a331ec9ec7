package main

import "io"

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help says how to use the output.
func (c *completionCmd) Help() string {
	return `Put one of these lines into the start-up file of your shell.

    bash (~/.bashrc):                   source <(strata completion bash)
    zsh (~/.zshrc, after compinit):     source <(strata completion zsh)
    fish (~/.config/fish/config.fish):  strata completion fish | source`
}

// Run prints the script. The scripts know nothing but how to ask strata itself.
func (c *completionCmd) Run(a *app) error {
	script := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err := io.WriteString(a.stdout, script)
	return err
}

const bashCompletion = `# Completion of strata for bash: source <(strata completion bash)
_strata() {
    local IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)) ||
        compopt -o default
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}
complete -F _strata strata
`

const zshCompletion = `#compdef strata
# Completion of strata for zsh: source <(strata completion zsh)
_strata() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}") || {
        _files
        return
    }
    found=(${found:#})
    (( ${#found} )) && _describe -V strata found
}
if [[ ${funcstack[1]} == _strata ]]; then
    _strata "$@"
else
    compdef _strata strata
fi
`

const fishCompletion = `# Completion of strata for fish: strata completion fish | source
function __strata_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete fish $words[2..-1] 2>/dev/null
    or __fish_complete_path (commandline -ct)
end
complete -c strata -f -k -a '(__strata_complete)'
`
