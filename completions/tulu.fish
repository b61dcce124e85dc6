# Completion of tulu in fish, 3.1 or later.
# Written by tools/gen_docs.py from the declarations of the options: change those.

# The verbs of a command.
function __tulu_commands
    switch $argv[1]
        case ''
            string split ' ' -- 'complete completions history'
        case 'completions'
            string split ' ' -- 'install show uninstall'
        case 'history'
            string split ' ' -- 'delete export import list prune rename search show'
    end
end

# The options of a command that take the next word.
function __tulu_valued
    switch $argv[1]
        case 'complete'
            string split ' ' -- '-f --file --messages -s --system --prefill -m --model --max-tokens --temperature --top-p --top-k --min-p --repetition-penalty --seed --stop -n --n --logprobs --schema --regex --choice --engine --dtype --quantization -tp --tensor-parallel-size -pp --pipeline-parallel-size --gpu-memory-utilization --max-model-len --device --engine-arg'
        case 'completions install'
            string split ' ' -- '--shell'
        case 'completions uninstall'
            string split ' ' -- '--shell'
        case 'history export'
            string split ' ' -- '--format -o --output'
        case 'history import'
            string split ' ' -- '--format --name'
        case 'history list'
            string split ' ' -- '-n --limit'
        case 'history prune'
            string split ' ' -- '--older-than --keep'
        case 'history search'
            string split ' ' -- '-n --limit'
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
complete -c tulu -n '__tulu_at \'\' = 0' -a complete -d 'Answer one prompt: an argument, what is piped in, or both'
complete -c tulu -n '__tulu_at \'\' = 0' -a completions -d 'Let bash, zsh or fish complete what you type after tulu'
complete -c tulu -n '__tulu_at \'\' = 0' -a history -d 'List, show, search, export, import and delete the conversations of `tulu chat`'
complete -c tulu -n '__tulu_at \'\'' -l version -d 'Print the version'
complete -c tulu -n '__tulu_at \'\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'complete\'' -s f -l file -r -F -d 'Add a file as a named block; repeatable'
complete -c tulu -n '__tulu_at \'complete\'' -l messages -r -F -d 'A conversation as JSON: [{role, content}, ...]. PROMPT, if given, follows it'
complete -c tulu -n '__tulu_at \'complete\'' -s s -l system -r -f -a '(__tulu_ask SYSTEM)' -d 'System prompt: a text, the name of one in the settings, tulu (the prompt of Ai2\'s demo, the default for Tülu models) or none'
complete -c tulu -n '__tulu_at \'complete\'' -l prefill -r -f -d 'The answer goes on from this text, which is not repeated'
complete -c tulu -n '__tulu_at \'complete\'' -l raw -d 'Complete the plain text, without a chat template'
complete -c tulu -n '__tulu_at \'complete\'' -s m -l model -r -f -a '(__tulu_ask MODEL) (__tulu_paths)' -d '8b, 70b, 405b and their -sft and -dpo stages, demo, org/name[@revision], a directory or a .gguf file'
complete -c tulu -n '__tulu_at \'complete\'' -l max-tokens -r -f -d 'Most tokens to generate'
complete -c tulu -n '__tulu_at \'complete\'' -l temperature -r -f -d 'How freely tokens are drawn; 0 is greedy'
complete -c tulu -n '__tulu_at \'complete\'' -l greedy -d 'The same as --temperature 0'
complete -c tulu -n '__tulu_at \'complete\'' -l top-p -r -f -d 'Draw from the likeliest tokens, up to this sum of chances'
complete -c tulu -n '__tulu_at \'complete\'' -l top-k -r -f -d 'Draw from this many likeliest tokens; 0 is off'
complete -c tulu -n '__tulu_at \'complete\'' -l min-p -r -f -d 'Draw from tokens with this share of the best one\'s chance'
complete -c tulu -n '__tulu_at \'complete\'' -l repetition-penalty -r -f -d 'Over 1 makes tokens that were there before less likely'
complete -c tulu -n '__tulu_at \'complete\'' -l seed -r -f -d 'Same seed, same engine, same answer'
complete -c tulu -n '__tulu_at \'complete\'' -l stop -r -f -d 'End before this text; repeatable'
complete -c tulu -n '__tulu_at \'complete\'' -s n -l n -r -f -d 'How many answers to give'
complete -c tulu -n '__tulu_at \'complete\'' -l logprobs -r -f -d 'With --json: log-probabilities, with this many alternatives a token'
complete -c tulu -n '__tulu_at \'complete\'' -l ignore-eos -d 'Go on after the model\'s end token, up to a limit'
complete -c tulu -n '__tulu_at \'complete\'' -l schema -r -F -d 'The answer is JSON of this JSON schema'
complete -c tulu -n '__tulu_at \'complete\'' -l regex -r -f -d 'The answer matches this regular expression as a whole'
complete -c tulu -n '__tulu_at \'complete\'' -l choice -r -f -d 'The answer is one of these; repeat it'
complete -c tulu -n '__tulu_at \'complete\'' -l json -d 'Print one JSON object with all that is known'
complete -c tulu -n '__tulu_at \'complete\'' -l stats -d 'Print token counts and times on stderr'
complete -c tulu -n '__tulu_at \'complete\'' -l fail-on-length -d 'Exit 8 if the answer was cut by a limit'
complete -c tulu -n '__tulu_at \'complete\'' -l engine -r -f -a 'auto vllm transformers' -d 'auto, vllm, transformers, or fake for tests'
complete -c tulu -n '__tulu_at \'complete\'' -l dtype -r -f -a 'auto bfloat16 float16 float32' -d 'auto, bfloat16, float16 or float32'
complete -c tulu -n '__tulu_at \'complete\'' -l quantization -r -f -a 'fp8 awq gptq bitsandbytes bitsandbytes-int8' -d 'vllm: fp8, awq, gptq, bitsandbytes; transformers: bitsandbytes (nf4) or bitsandbytes-int8'
complete -c tulu -n '__tulu_at \'complete\'' -o tp -l tensor-parallel-size -r -f -d 'GPUs that share each layer (vllm)'
complete -c tulu -n '__tulu_at \'complete\'' -o pp -l pipeline-parallel-size -r -f -d 'GPUs that layers are split over (vllm)'
complete -c tulu -n '__tulu_at \'complete\'' -l gpu-memory-utilization -r -f -d 'Share of each GPU\'s memory to take (vllm)'
complete -c tulu -n '__tulu_at \'complete\'' -l max-model-len -r -f -d 'Context length'
complete -c tulu -n '__tulu_at \'complete\'' -l device -r -f -a 'auto cpu cuda cuda:0 cuda:1 mps' -d 'auto, cpu, cuda, cuda:1, mps'
complete -c tulu -n '__tulu_at \'complete\'' -l engine-arg -r -f -d 'An argument of the engine\'s own, passed through; repeatable'
complete -c tulu -n '__tulu_at \'complete\'' -l trust-remote-code -d 'Let the model\'s repository run its Python'
complete -c tulu -n '__tulu_at \'complete\'' -l allow-special -d 'Let the text of a control token in a message become that token'
complete -c tulu -n '__tulu_at \'complete\'' -l offline -d 'Open no socket: use what is cached'
complete -c tulu -n '__tulu_at \'complete\'' -s v -l verbose -d 'Say on stderr what is chosen, and why'
complete -c tulu -n '__tulu_at \'complete\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'complete\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'completions\' = 0' -a install -d 'Put the completion script where the shell looks'
complete -c tulu -n '__tulu_at \'completions\' = 0' -a show -d 'Print the completion script of a shell'
complete -c tulu -n '__tulu_at \'completions\' = 0' -a uninstall -d 'Take away what install has put there'
complete -c tulu -n '__tulu_at \'completions\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'completions install\'' -l shell -r -f -a 'bash zsh fish' -d 'The shell to complete for'
complete -c tulu -n '__tulu_at \'completions install\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'completions show\' = 0' -f -a 'bash zsh fish'
complete -c tulu -n '__tulu_at \'completions show\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'completions uninstall\'' -l shell -r -f -a 'bash zsh fish' -d 'The shell to complete for'
complete -c tulu -n '__tulu_at \'completions uninstall\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history\' = 0' -a delete -d 'Delete sessions with all their branches'
complete -c tulu -n '__tulu_at \'history\' = 0' -a export -d 'Write sessions as Markdown, HTML or JSON'
complete -c tulu -n '__tulu_at \'history\' = 0' -a import -d 'Read conversations from files'
complete -c tulu -n '__tulu_at \'history\' = 0' -a list -d 'List the sessions, the newest first'
complete -c tulu -n '__tulu_at \'history\' = 0' -a prune -d 'Delete old sessions'
complete -c tulu -n '__tulu_at \'history\' = 0' -a rename -d 'Give a session a name, by which it is found'
complete -c tulu -n '__tulu_at \'history\' = 0' -a search -d 'Find the turns in which words were said'
complete -c tulu -n '__tulu_at \'history\' = 0' -a show -d 'Show what was said in a session, or its tree'
complete -c tulu -n '__tulu_at \'history\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history delete\' -ge 0' -f -a '(__tulu_ask ID)'
complete -c tulu -n '__tulu_at \'history delete\'' -s y -l yes -d 'Do not ask'
complete -c tulu -n '__tulu_at \'history delete\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history delete\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history export\' -ge 0' -f -a '(__tulu_ask ID)'
complete -c tulu -n '__tulu_at \'history export\'' -l format -r -f -d 'markdown, jsonl (a line each with `messages`, as the Tülu 3 SFT mixture has it), openai, sharegpt, html, or tulu (all branches and how answers were made)'
complete -c tulu -n '__tulu_at \'history export\'' -s o -l output -r -F -d 'Write here'
complete -c tulu -n '__tulu_at \'history export\'' -l all -d 'Export all sessions'
complete -c tulu -n '__tulu_at \'history export\'' -l branches -d 'Each branch as a conversation of its own'
complete -c tulu -n '__tulu_at \'history export\'' -l force -d 'Write over a file that exists'
complete -c tulu -n '__tulu_at \'history export\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history export\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history import\' -ge 0' -F
complete -c tulu -n '__tulu_at \'history import\'' -l format -r -f -d 'markdown, html, or for every kind of JSON jsonl'
complete -c tulu -n '__tulu_at \'history import\'' -l name -r -f -d 'Name the session; for one alone'
complete -c tulu -n '__tulu_at \'history import\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history import\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history list\'' -s n -l limit -r -f -d 'At most so many'
complete -c tulu -n '__tulu_at \'history list\'' -l json -d 'Print JSON, with all that is known'
complete -c tulu -n '__tulu_at \'history list\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history list\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history prune\'' -l older-than -r -f -d 'Delete what was last written longer ago: 90m, 12h, 30d, 8w, 1y'
complete -c tulu -n '__tulu_at \'history prune\'' -l keep -r -f -d 'Keep this many, the newest ones'
complete -c tulu -n '__tulu_at \'history prune\'' -l named -d 'Also those that have a name, which else stay'
complete -c tulu -n '__tulu_at \'history prune\'' -s n -l dry-run -d 'Show what would go, and delete nothing'
complete -c tulu -n '__tulu_at \'history prune\'' -s y -l yes -d 'Do not ask'
complete -c tulu -n '__tulu_at \'history prune\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history prune\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history rename\' = 0' -f -a '(__tulu_ask ID)'
complete -c tulu -n '__tulu_at \'history rename\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history rename\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history search\'' -s n -l limit -r -f -d 'At most so many'
complete -c tulu -n '__tulu_at \'history search\'' -l json -d 'Print JSON, with all that is known'
complete -c tulu -n '__tulu_at \'history search\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history search\'' -s h -l help -d 'Show this message and exit'
complete -c tulu -n '__tulu_at \'history show\' = 0' -f -a '(__tulu_ask ID)'
complete -c tulu -n '__tulu_at \'history show\'' -l tree -d 'Draw all branches, a line a turn'
complete -c tulu -n '__tulu_at \'history show\'' -l json -d 'Print JSON, with all that is known'
complete -c tulu -n '__tulu_at \'history show\'' -l debug -d 'Show a traceback when something fails'
complete -c tulu -n '__tulu_at \'history show\'' -s h -l help -d 'Show this message and exit'
