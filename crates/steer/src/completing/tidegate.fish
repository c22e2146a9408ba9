# Completion of tidegate for fish: tidegate completions fish | source
function __tidegate_candidates
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete -- $words 2>/dev/null
end
complete -c tidegate -f -a '(__tidegate_candidates)'
