# Completes commands, options and paths of strongroom; never reads a value.
_strongroom() {
    local -a words
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=("")
    local current=${words[-1]} shown=${COMP_WORDS[COMP_CWORD]} before candidate
    # Readline replaces what follows the last of its word breaks, such as a colon.
    case $shown in : | = | @) shown="" ;; esac
    before=${current%"$shown"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ $candidate == :files ]]; then
            compopt -o default 2>/dev/null
            return
        fi
        [[ $candidate == */ ]] && compopt -o nospace 2>/dev/null
        COMPREPLY+=("${candidate#"$before"}")
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
}
complete -F _strongroom strongroom
