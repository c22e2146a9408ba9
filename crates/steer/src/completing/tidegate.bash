# Completion of tidegate for bash: source <(tidegate completions bash)
_tidegate() {
    # By blanks alone: readline would also break addresses at their colons.
    local line=${COMP_LINE:0:COMP_POINT} word
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local current=${words[${#words[@]} - 1]} shown=""
    # What stands before the last colon is another word to readline, which keeps it.
    if [[ $current == *[:=]* && $COMP_WORDBREAKS == *:* ]]; then
        shown=${current%"${current##*[:=]}"}
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        COMPREPLY+=("${word#"$shown"}")
    done < <("${words[0]}" __complete -- "${words[@]}" 2>/dev/null)
}
complete -o bashdefault -o default -F _tidegate tidegate
