# Completes commands, options and paths of strongroom; never reads a value.
function __strongroom_complete
    set -l words (commandline -opc)
    set -l candidates (command $words[1] __complete -- $words[2..-1] (commandline -ct) 2>/dev/null)
    if test "$candidates[1]" = ":files"
        __fish_complete_path (commandline -ct)
        return
    end
    string join -- \n $candidates
end
complete -c strongroom -f -a '(__strongroom_complete)'
