#compdef strongroom
# Completes commands, options and paths of strongroom; never reads a value.
_strongroom() {
    local -a candidates
    candidates=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ ${candidates[1]} == :files ]]; then
        _files
        return
    fi
    local -a folders others
    folders=("${(@M)candidates:#*/}")
    others=("${(@)candidates:#*/}")
    [[ -n ${folders[*]} ]] && compadd -S '' -- "${folders[@]}"
    [[ -n ${others[*]} ]] && compadd -- "${others[@]}"
}
if [[ ${funcstack[1]} == _strongroom ]]; then
    _strongroom "$@"
else
    compdef _strongroom strongroom
fi
