# Completion of tulu in fish, 3.1 or later.
# Written by tools/gen_docs.py from the declarations of the options: change those.

# The verbs of a command.
function __tulu_commands
    switch $argv[1]
@COMMANDS@
    end
end

# The options of a command that take the next word.
function __tulu_valued
    switch $argv[1]
@VALUED@
    end
end

# Set the command that the line has come to, and the number of arguments it has already.
function __tulu_read_line
    set -g __tulu_command
    set -g __tulu_argument 0
    set -l takes
    set -l ended
    for word in $argv[2..-1]
        if test -n "$takes"
            set takes
        else if test -z "$ended"; and test "x$word" = x--
            set ended yes
        else if test -z "$ended"; and string match -q -- '-?*' $word
            contains -- $word (__tulu_valued "$__tulu_command"); and set takes yes
        else if test -z "$ended"; and test $__tulu_argument = 0
            and contains -- $word (__tulu_commands "$__tulu_command")
            set -g __tulu_command (string trim "$__tulu_command $word")
        else
            set -g __tulu_argument (math $__tulu_argument + 1)
        end
    end
end

# Whether the line is in a command, at its argument of that number if one is given.
function __tulu_at
    set -l line (commandline -opc)
    if test "$line" != "$__tulu_line"
        set -g __tulu_line $line
        __tulu_read_line $line
    end
    test "$__tulu_command" = "$argv[1]"; or return
    set -q argv[2]; or return 0
    test $__tulu_argument $argv[2] $argv[3]
end

# The words that the program itself knows of a kind.
function __tulu_ask
    set -l program (commandline -opc)[1]
    set program (string replace -r '^~/' "$HOME/" -- $program)
    command -q -- $program; or set program tulu
    _TULU_CANDIDATES=$argv[1] command $program 2>/dev/null </dev/null
end

# The names of files, once what is typed looks like one.
function __tulu_paths
    set -l typed (commandline -ct)
    string match -qr '^[./~]' -- $typed; and __fish_complete_path $typed
end

complete -c tulu -e
complete -c tulu -f
@COMPLETIONS@
