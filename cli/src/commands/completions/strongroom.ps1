# Completes commands, options and paths of strongroom; never reads a value.
Register-ArgumentCompleter -Native -CommandName strongroom -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        Select-Object -Skip 1 | ForEach-Object { $_.ToString() })
    $candidates = @(& strongroom __complete -- @words $wordToComplete 2>$null)
    if ($candidates.Count -gt 0 -and $candidates[0] -eq ':files') { return }
    $candidates | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
    }
}
