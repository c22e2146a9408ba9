#compdef tidegate
# Completion of tidegate for zsh: source <(tidegate completions zsh)
_tidegate() {
    local line
    local -a values shown
    for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)}"; do
        [[ -z $line ]] && continue
        values+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
    done
    if (( ${#values} )); then
        compadd -l -d shown -a values
    else
        _files
    fi
}
if [[ ${funcstack[1]} == _tidegate ]]; then
    _tidegate "$@"
else
    compdef _tidegate tidegate
fi
