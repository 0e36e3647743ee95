# Completes commands, options and paths of strongroom; never reads a value.
set edit:completion:arg-completer[strongroom] = {|@words|
    var candidates = [(e:strongroom __complete -- $@words[1..] 2>/dev/null | from-lines)]
    if (and (> (count $candidates) 0) (eq $candidates[0] ':files')) {
        edit:complete-filename $@words
    } else {
        for candidate $candidates {
            if (eq $candidate[-1] '/') {
                edit:complex-candidate $candidate &code-suffix=''
            } else {
                put $candidate
            }
        }
    }
}
