# Completion of tulu in bash.
# Written by tools/gen_docs.py from the declarations of the options: change those.

# What command $1 has, and what its option $2, or its argument of number $2, takes.
_tulu_table() {
    commands= options= words= asks= paths= takes=yes
    case $1 in
        tulu)
            commands='batch chat compare complete doctor eval logs plan ps serve stop verify completions config history models template'
            options='--version --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu batch')
            options='--format --template --score --no-end --window --system --system-prompt --allow-special --strict-roles --think --no-think --template-arg --max-tokens --max-new-tokens --max-reasoning-tokens --temperature --greedy --top-p --top-k --min-p --repetition-penalty --frequency-penalty --presence-penalty --logit-bias --seed --stop --n --ignore-eos --schema --regex --choice --output --output-format --in-order --logprobs --verify --stats --resume --retry-errors --overwrite --fail-fast --max-errors --shard --merge --ray --workers --gpus-per-worker --model --adapter --engine --dtype --quantization --draft --draft-tokens --tensor-parallel-size --pipeline-parallel-size --gpu-memory-utilization --max-model-len --device --engine-arg --trust-remote-code --deterministic --force --keep-alive --server --mixed --server-wait --in-flight --api-key-env --no-server --profile --offline --verbose --debug --help'
            case $2 in
                --format) words='auto openai messages prompt text sharegpt csv' ;;
                --template | --window | --template-arg | --max-tokens | --max-new-tokens | --max-reasoning-tokens | --temperature | --top-p | --top-k | --min-p | --repetition-penalty | --frequency-penalty | --presence-penalty | --logit-bias | --seed | --stop | -n | --n | --regex | --choice | --logprobs | --verify | --max-errors | --workers | --gpus-per-worker | --draft-tokens | -tp | --tensor-parallel-size | -pp | --pipeline-parallel-size | --gpu-memory-utilization | --max-model-len | --engine-arg | --keep-alive | --server | --server-wait | --in-flight | --api-key-env | --profile) ;;
                -s | --system | --system-prompt) asks=SYSTEM ;;
                --schema | -o | --output | --stats | [0-9]*) paths=files ;;
                --output-format) words='tulu openai' ;;
                --shard) words=auto ;;
                --ray) words='auto local' ;;
                -m | --model) asks=MODEL paths=files ;;
                --adapter) paths=directories ;;
                --engine) words='auto vllm transformers' ;;
                --dtype) words='auto bfloat16 float16 float32' ;;
                --quantization) words='fp8 awq gptq bitsandbytes bitsandbytes-int8' ;;
                --draft) words='ngram none' asks=MODEL paths=files ;;
                --device) words='auto cpu cuda cuda:0 cuda:1 mps' ;;
                *) takes= ;;
            esac
            ;;
        'tulu chat')
            options='--session --continue --resume --no-history --incognito --system --system-prompt --overflow --allow-special --think --no-think --template-arg --max-tokens --max-new-tokens --max-reasoning-tokens --temperature --greedy --top-p --top-k --min-p --repetition-penalty --frequency-penalty --presence-penalty --seed --stop --ignore-eos --reasoning --plain --model --adapter --engine --dtype --quantization --draft --draft-tokens --tensor-parallel-size --pipeline-parallel-size --gpu-memory-utilization --max-model-len --device --engine-arg --trust-remote-code --deterministic --force --keep-alive --server --api-key-env --no-server --profile --offline --verbose --debug --help'
            case $2 in
                --session) asks=SESSION ;;
                --resume) asks=ID ;;
                -s | --system | --system-prompt) asks=SYSTEM ;;
                --overflow) words='ask error drop-oldest' ;;
                --template-arg | --max-tokens | --max-new-tokens | --max-reasoning-tokens | --temperature | --top-p | --top-k | --min-p | --repetition-penalty | --frequency-penalty | --presence-penalty | --seed | --stop | --draft-tokens | -tp | --tensor-parallel-size | -pp | --pipeline-parallel-size | --gpu-memory-utilization | --max-model-len | --engine-arg | --keep-alive | --server | --api-key-env | --profile) ;;
                --reasoning) words='show hide only' ;;
                -m | --model) asks=MODEL paths=files ;;
                --adapter) paths=directories ;;
                --engine) words='auto vllm transformers' ;;
                --dtype) words='auto bfloat16 float16 float32' ;;
                --quantization) words='fp8 awq gptq bitsandbytes bitsandbytes-int8' ;;
                --draft) words='ngram none' asks=MODEL paths=files ;;
                --device) words='auto cpu cuda cuda:0 cuda:1 mps' ;;
                *) takes= ;;
            esac
            ;;
        'tulu compare')
            options='--prompts --format --template --system --system-prompt --allow-special --strict-roles --think --no-think --template-arg --max-tokens --max-new-tokens --temperature --greedy --top-p --top-k --min-p --repetition-penalty --seed --stop --json --blind --output --order-seed --resume --overwrite --model --engine --dtype --quantization --tensor-parallel-size --pipeline-parallel-size --gpu-memory-utilization --max-model-len --device --engine-arg --trust-remote-code --deterministic --force --keep-alive --server --mixed --server-wait --in-flight --api-key-env --no-server --profile --offline --verbose --debug --help'
            case $2 in
                --prompts | -o | --output | [0-9]*) paths=files ;;
                --format) words='auto openai messages prompt text sharegpt csv' ;;
                --template | --template-arg | --max-tokens | --max-new-tokens | --temperature | --top-p | --top-k | --min-p | --repetition-penalty | --seed | --stop | --order-seed | -tp | --tensor-parallel-size | -pp | --pipeline-parallel-size | --gpu-memory-utilization | --max-model-len | --engine-arg | --keep-alive | --server | --server-wait | --in-flight | --api-key-env | --profile) ;;
                -s | --system | --system-prompt) asks=SYSTEM ;;
                -m | --model) asks=MODEL paths=files ;;
                --engine) words='auto vllm transformers' ;;
                --dtype) words='auto bfloat16 float16 float32' ;;
                --quantization) words='fp8 awq gptq bitsandbytes bitsandbytes-int8' ;;
                --device) words='auto cpu cuda cuda:0 cuda:1 mps' ;;
                *) takes= ;;
            esac
            ;;
        'tulu complete')
            options='--system --system-prompt --file --messages --prefill --raw --allow-special --strict-roles --think --no-think --template-arg --max-tokens --max-new-tokens --max-reasoning-tokens --temperature --greedy --top-p --top-k --min-p --repetition-penalty --frequency-penalty --presence-penalty --logit-bias --seed --stop --n --ignore-eos --schema --regex --choice --json --logprobs --reasoning --plain --stats --fail-on-length --model --adapter --engine --dtype --quantization --draft --draft-tokens --tensor-parallel-size --pipeline-parallel-size --gpu-memory-utilization --max-model-len --device --engine-arg --trust-remote-code --deterministic --force --keep-alive --server --api-key-env --no-server --profile --offline --verbose --debug --help'
            case $2 in
                -s | --system | --system-prompt) asks=SYSTEM ;;
                -f | --file | --messages | --schema) paths=files ;;
                --prefill | --template-arg | --max-tokens | --max-new-tokens | --max-reasoning-tokens | --temperature | --top-p | --top-k | --min-p | --repetition-penalty | --frequency-penalty | --presence-penalty | --logit-bias | --seed | --stop | -n | --n | --regex | --choice | --logprobs | --draft-tokens | -tp | --tensor-parallel-size | -pp | --pipeline-parallel-size | --gpu-memory-utilization | --max-model-len | --engine-arg | --keep-alive | --server | --api-key-env | --profile | 0) ;;
                --reasoning) words='show hide only' ;;
                -m | --model) asks=MODEL paths=files ;;
                --adapter) paths=directories ;;
                --engine) words='auto vllm transformers' ;;
                --dtype) words='auto bfloat16 float16 float32' ;;
                --quantization) words='fp8 awq gptq bitsandbytes bitsandbytes-int8' ;;
                --draft) words='ngram none' asks=MODEL paths=files ;;
                --device) words='auto cpu cuda cuda:0 cuda:1 mps' ;;
                *) takes= ;;
            esac
            ;;
        'tulu doctor')
            options='--json --debug --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu eval')
            options='--limit --data --card --run-code --max-tokens --max-new-tokens --n --output --resume --overwrite --compare --json --adapter --engine --dtype --quantization --tensor-parallel-size --pipeline-parallel-size --gpu-memory-utilization --max-model-len --device --engine-arg --trust-remote-code --deterministic --force --keep-alive --server --mixed --server-wait --in-flight --api-key-env --no-server --profile --offline --verbose --debug --help'
            case $2 in
                --limit | --card | --max-tokens | --max-new-tokens | -n | --n | -tp | --tensor-parallel-size | -pp | --pipeline-parallel-size | --gpu-memory-utilization | --max-model-len | --engine-arg | --keep-alive | --server | --server-wait | --in-flight | --api-key-env | --profile | [0-9]*) ;;
                --data | -o | --output | --adapter) paths=directories ;;
                --engine) words='auto vllm transformers' ;;
                --dtype) words='auto bfloat16 float16 float32' ;;
                --quantization) words='fp8 awq gptq bitsandbytes bitsandbytes-int8' ;;
                --device) words='auto cpu cuda cuda:0 cuda:1 mps' ;;
                *) takes= ;;
            esac
            ;;
        'tulu logs')
            options='--follow --debug --help'
            case $2 in
                0) asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu plan')
            options='--gpu --nodes --nnodes --engine --max-model-len --adapter --draft --draft-tokens --dtype --quantization --kv-cache-dtype --tensor-parallel-size --pipeline-parallel-size --replicas --data-parallel-size --enable-expert-parallel --gpu-memory-utilization --kv-cache-memory-bytes --cpu-offload-gb --block-size --enforce-eager --eager --vllm-version --static-cache --quantized-cache --concurrency --usage-context --max-num-seqs --max-num-batched-tokens --batch-size --batch --num-beams --beams --log --compare --find --explain --plot --json --offline --debug --help'
            case $2 in
                --gpu) words='v100-16gb v100-32gb t4 a10 a10g a30 a40 l4 l40 l40s a100-40gb a100-80gb h100 h100-pcie h100-nvl h200 h20 gh200 gh200-144gb b200 b300 rtx-2060 rtx-2070 rtx-2080 rtx-2080-ti titan-rtx quadro-rtx-4000 quadro-rtx-5000 quadro-rtx-6000 quadro-rtx-8000 t400-4gb t600 t1000 t1000-8gb rtx-3060 rtx-3060-ti rtx-3070 rtx-3080 rtx-3080-ti rtx-3090 rtx-3090-ti rtx-3060-laptop rtx-3070-laptop rtx-3080-laptop rtx-4060 rtx-4060-ti-16gb rtx-4070 rtx-4070-super rtx-4070-ti rtx-4070-ti-super rtx-4080 rtx-4080-super rtx-4090 rtx-4090-d rtx-4060-laptop rtx-4070-laptop rtx-4080-laptop rtx-4090-laptop rtx-5060 rtx-5060-ti-16gb rtx-5070 rtx-5070-ti rtx-5080 rtx-5090 rtx-5070-laptop rtx-5070-ti-laptop rtx-5080-laptop rtx-5090-laptop rtx-a4000 rtx-a5000 rtx-a6000 rtx-4000-ada rtx-5000-ada rtx-6000-ada rtx-pro-4000 rtx-pro-4500 rtx-pro-5000 rtx-pro-6000 gb10 thor mi210 mi250x mi300x mi325x mi350x mi355x w7900 rx-7900-xtx r9700 strix-halo arc-a770 arc-b580 arc-pro-b50 arc-pro-b60 arc-pro-b70 max-1100 max-1550' ;;
                --nodes | --nnodes | --max-model-len | --draft-tokens | -tp | --tensor-parallel-size | -pp | --pipeline-parallel-size | -dp | --replicas | --data-parallel-size | --gpu-memory-utilization | --kv-cache-memory-bytes | --cpu-offload-gb | --block-size | --vllm-version | --concurrency | --max-num-seqs | --max-num-batched-tokens | --batch-size | --batch | --num-beams | --beams | --compare) ;;
                --engine) words='vllm transformers' ;;
                --adapter) paths=directories ;;
                --draft) words='ngram none' asks=MODEL paths=files ;;
                --dtype) words='auto bfloat16 float16 float32' ;;
                --quantization) words='fp8 awq gptq bitsandbytes bitsandbytes-int8' ;;
                --kv-cache-dtype) words='auto fp8 bfloat16 float16' ;;
                --quantized-cache) words='4 2' ;;
                --usage-context) words='server llm' ;;
                --log | --plot) paths=files ;;
                --find) words='max-model-len concurrency gpus utilization' ;;
                0) asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu ps')
            options='--json --debug --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu serve')
            options='--detach --keep-alive --host --port --api-key-file --nodes --nnodes --replicas --data-parallel-size --ray --adapter --engine --dtype --quantization --draft --draft-tokens --tensor-parallel-size --pipeline-parallel-size --gpu-memory-utilization --max-model-len --device --engine-arg --trust-remote-code --deterministic --force --profile --offline --verbose --debug --help'
            case $2 in
                --keep-alive | --host | --port | --nodes | --nnodes | -dp | --replicas | --data-parallel-size | --ray | --draft-tokens | -tp | --tensor-parallel-size | -pp | --pipeline-parallel-size | --gpu-memory-utilization | --max-model-len | --engine-arg | --profile) ;;
                --api-key-file) paths=files ;;
                --adapter) paths=directories ;;
                --engine) words='auto vllm transformers' ;;
                --dtype) words='auto bfloat16 float16 float32' ;;
                --quantization) words='fp8 awq gptq bitsandbytes bitsandbytes-int8' ;;
                --draft) words='ngram none' asks=MODEL paths=files ;;
                --device) words='auto cpu cuda cuda:0 cuda:1 mps' ;;
                0) asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu stop')
            options='--all --debug --help'
            case $2 in
                0) asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu verify')
            options='--rule --era --label --explain --against --output --summary --resume --overwrite --jobs --debug --help'
            case $2 in
                --rule | --label | --explain | --against | --jobs) ;;
                --era) words='now 2024' ;;
                -o | --output | --summary | 0) paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu completions')
            commands='install show uninstall'
            options=--help
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu completions install')
            options='--shell --help'
            case $2 in
                --shell) words='bash zsh fish' ;;
                *) takes= ;;
            esac
            ;;
        'tulu completions show')
            options=--help
            case $2 in
                0) words='bash zsh fish' ;;
                *) takes= ;;
            esac
            ;;
        'tulu completions uninstall')
            options='--shell --help'
            case $2 in
                --shell) words='bash zsh fish' ;;
                *) takes= ;;
            esac
            ;;
        'tulu config')
            commands='check edit get init path set show unset'
            options=--help
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu config check')
            options='--debug --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu config edit')
            options='--debug --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu config get')
            options='--profile --debug --help'
            case $2 in
                --profile) ;;
                0) words='model adapter system sampling.max_tokens sampling.max_reasoning_tokens sampling.temperature sampling.top_p sampling.top_k sampling.min_p sampling.repetition_penalty sampling.frequency_penalty sampling.presence_penalty sampling.seed engine.engine engine.dtype engine.quantization engine.draft engine.draft_tokens engine.tensor_parallel_size engine.pipeline_parallel_size engine.gpu_memory_utilization engine.max_model_len engine.device chat.editing_mode server.keep_alive server.server server.api_key_env server.in_flight' ;;
                *) takes= ;;
            esac
            ;;
        'tulu config init')
            options='--debug --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu config path')
            options='--debug --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu config set')
            options='--profile --debug --help'
            case $2 in
                --profile | 1) ;;
                0) words='model adapter system sampling.max_tokens sampling.max_reasoning_tokens sampling.temperature sampling.top_p sampling.top_k sampling.min_p sampling.repetition_penalty sampling.frequency_penalty sampling.presence_penalty sampling.seed engine.engine engine.dtype engine.quantization engine.draft engine.draft_tokens engine.tensor_parallel_size engine.pipeline_parallel_size engine.gpu_memory_utilization engine.max_model_len engine.device chat.editing_mode server.keep_alive server.server server.api_key_env server.in_flight' ;;
                *) takes= ;;
            esac
            ;;
        'tulu config show')
            options='--origin --json --profile --debug --help'
            case $2 in
                --profile) ;;
                *) takes= ;;
            esac
            ;;
        'tulu config unset')
            options='--profile --debug --help'
            case $2 in
                --profile) ;;
                0) words='model adapter system sampling.max_tokens sampling.max_reasoning_tokens sampling.temperature sampling.top_p sampling.top_k sampling.min_p sampling.repetition_penalty sampling.frequency_penalty sampling.presence_penalty sampling.seed engine.engine engine.dtype engine.quantization engine.draft engine.draft_tokens engine.tensor_parallel_size engine.pipeline_parallel_size engine.gpu_memory_utilization engine.max_model_len engine.device chat.editing_mode server.keep_alive server.server server.api_key_env server.in_flight' ;;
                *) takes= ;;
            esac
            ;;
        'tulu history')
            commands='delete export import list prune rename search show'
            options=--help
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu history delete')
            options='--yes --debug --help'
            case $2 in
                [0-9]*) asks=ID ;;
                *) takes= ;;
            esac
            ;;
        'tulu history export')
            options='--format --output --all --branches --force --debug --help'
            case $2 in
                --format) words='markdown jsonl openai sharegpt html tulu' ;;
                -o | --output) paths=files ;;
                [0-9]*) asks=ID ;;
                *) takes= ;;
            esac
            ;;
        'tulu history import')
            options='--format --name --debug --help'
            case $2 in
                --format) words='markdown jsonl openai sharegpt html tulu' ;;
                --name) ;;
                [0-9]*) paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu history list')
            options='--limit --json --debug --help'
            case $2 in
                -n | --limit) ;;
                *) takes= ;;
            esac
            ;;
        'tulu history prune')
            options='--older-than --keep --named --dry-run --yes --debug --help'
            case $2 in
                --older-than | --keep) ;;
                *) takes= ;;
            esac
            ;;
        'tulu history rename')
            options='--debug --help'
            case $2 in
                0) asks=ID ;;
                1) ;;
                *) takes= ;;
            esac
            ;;
        'tulu history search')
            options='--limit --reasoning --json --debug --help'
            case $2 in
                -n | --limit | [0-9]*) ;;
                *) takes= ;;
            esac
            ;;
        'tulu history show')
            options='--tree --reasoning --json --debug --help'
            case $2 in
                --reasoning) words='show hide only' ;;
                0) asks=ID ;;
                *) takes= ;;
            esac
            ;;
        'tulu models')
            commands='pull rm show'
            options='--json --debug --help'
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu models pull')
            options='--revision --json --offline --debug --help'
            case $2 in
                --revision) ;;
                0) asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu models rm')
            options='--yes --json --debug --help'
            case $2 in
                0) asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu models show')
            options='--benchmarks --hyperparameters --citation --plot --json --csv --markdown --toml --offline --debug --help'
            case $2 in
                0) asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu template')
            commands='convert diff lint parse render show tokens'
            options=--help
            case $2 in
                *) takes= ;;
            esac
            ;;
        'tulu template convert')
            options='--file --from --system --system-prompt --to --jobs --debug --help'
            case $2 in
                -f | --file | [0-9]*) paths=files ;;
                --from) words='messages openai tulu sharegpt pairs auto' ;;
                -s | --system | --system-prompt) asks=SYSTEM ;;
                --to) words='messages openai tulu sharegpt pairs' ;;
                --jobs) ;;
                *) takes= ;;
            esac
            ;;
        'tulu template diff')
            options='--eos --bos --json --offline --verbose --debug --help'
            case $2 in
                --eos | --bos) ;;
                0 | 1) words=tulu asks=MODEL paths=files ;;
                *) takes= ;;
            esac
            ;;
        'tulu template lint')
            options='--file --from --model --template --chat-template --tokenizer --eos --bos --card --template-arg --kwarg --think --no-think --json --offline --verbose --debug --help'
            case $2 in
                -f | --file | --template | --chat-template | [0-9]*) paths=files ;;
                --from) words='messages openai tulu sharegpt pairs auto' ;;
                -m | --model) asks=MODEL paths=files ;;
                --tokenizer) paths=directories ;;
                --eos | --bos | --template-arg | --kwarg) ;;
                *) takes= ;;
            esac
            ;;
        'tulu template parse')
            options='--model --template --chat-template --tokenizer --eos --bos --card --template-arg --kwarg --think --no-think --offline --verbose --debug --help'
            case $2 in
                -m | --model) asks=MODEL paths=files ;;
                --template | --chat-template | 0) paths=files ;;
                --tokenizer) paths=directories ;;
                --eos | --bos | --template-arg | --kwarg) ;;
                *) takes= ;;
            esac
            ;;
        'tulu template render')
            options='--file --from --system --system-prompt --add-generation-prompt --no-add-generation-prompt --continue-final-message --continue-final --tools --allow-special --strict-roles --model --template --chat-template --tokenizer --eos --bos --card --template-arg --kwarg --think --no-think --json --jobs --offline --verbose --debug --help'
            case $2 in
                -f | --file | --tools | --template | --chat-template | [0-9]*) paths=files ;;
                --from) words='messages openai tulu sharegpt pairs auto' ;;
                -s | --system | --system-prompt) asks=SYSTEM ;;
                -m | --model) asks=MODEL paths=files ;;
                --tokenizer) paths=directories ;;
                --eos | --bos | --template-arg | --kwarg | --jobs) ;;
                *) takes= ;;
            esac
            ;;
        'tulu template show')
            options='--model --template --chat-template --tokenizer --offline --verbose --debug --help'
            case $2 in
                -m | --model) asks=MODEL paths=files ;;
                --template | --chat-template) paths=files ;;
                --tokenizer) paths=directories ;;
                *) takes= ;;
            esac
            ;;
        'tulu template tokens')
            options='--file --from --system --system-prompt --add-generation-prompt --no-add-generation-prompt --continue-final-message --continue-final --tools --allow-special --strict-roles --model --template --chat-template --tokenizer --eos --bos --template-arg --kwarg --think --no-think --json --jobs --offline --verbose --debug --help'
            case $2 in
                -f | --file | --tools | --template | --chat-template | [0-9]*) paths=files ;;
                --from) words='messages openai tulu sharegpt pairs auto' ;;
                -s | --system | --system-prompt) asks=SYSTEM ;;
                -m | --model) asks=MODEL paths=files ;;
                --tokenizer) paths=directories ;;
                --eos | --bos | --template-arg | --kwarg | --jobs) ;;
                *) takes= ;;
            esac
            ;;
        *) takes= ;;
    esac
}

# The words of the line up to the cursor, put together again where readline broke them at = : or @.
_tulu_split() {
    local rest=${COMP_LINE:0:COMP_POINT} blank index piece
    line=()
    for ((index = 0; index <= COMP_CWORD; index++)); do
        blank=${rest%%[![:space:]]*}
        rest=${rest#"$blank"}
        piece=${COMP_WORDS[index]}
        ((index == COMP_CWORD)) && piece=$rest
        rest=${rest#"$piece"}
        if [[ -n $blank || $index -eq 0 ]]; then
            line[${#line[@]}]=$piece
        else
            line[${#line[@]} - 1]+=$piece
        fi
    done
}

# Go on by one word: to a verb of a group, to an option that takes the next word, to an argument.
_tulu_step() {
    if [[ -n $option ]]; then
        option=
    elif [[ -z $ended && $1 == -- ]]; then
        ended=yes
    elif [[ -z $ended && $1 == -?* ]]; then
        _tulu_table "$command" "$1"
        [[ -n $takes ]] && option=$1
    else
        _tulu_table "$command" "$argument"
        if [[ -z $ended && $argument -eq 0 && " $commands " == *" $1 "* ]]; then
            command+=" $1"
        else
            argument=$((argument + 1))
        fi
    fi
    return 0
}

# The words that the program itself knows, quoted as bash would have to be given them.
_tulu_ask() {
    local program kind word about
    program=$(type -P -- "${COMP_WORDS[0]/#\~\//$HOME/}") || program=tulu
    for kind in $asks; do
        while IFS=$'\t' read -r word about; do
            printf '%q\n' "$word"
        done < <(_TULU_CANDIDATES=$kind "$program" 2>/dev/null </dev/null)
    done
}

# Offer what goes on from $2; readline keeps $1 of the line, and all up to the last = : or @.
_tulu_offer() {
    local breaks=${COMP_WORDBREAKS//[^=:@]/} kept= word
    [[ -n $breaks ]] && kept=$1$2 && kept=${kept%"${kept##*[$breaks]}"}
    for word in $words; do
        [[ $word == "$2"* ]] && COMPREPLY+=("$1$word")
    done
    if [[ -n $asks && $2 != [./~\"\']* ]]; then
        while IFS= read -r word; do
            [[ $word == "$2"* ]] && COMPREPLY+=("$1$word")
        done < <(_tulu_ask)
    fi
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    # Without a word of ours bash goes on to the names of files, by -o default.
    [[ $paths == files ]] || compopt +o default 2>/dev/null
    [[ $paths == directories ]] && compopt -o dirnames 2>/dev/null
    return 0
}

_tulu() {
    local IFS=$' \t\n' line index last current command=tulu option= argument=0 ended=
    local commands options words asks paths takes
    COMPREPLY=()
    _tulu_split
    last=$((${#line[@]} - 1))
    current=${line[last]}
    for ((index = 1; index < last; index++)); do
        _tulu_step "${line[index]}"
    done
    if [[ -n $option ]]; then
        _tulu_table "$command" "$option"
        _tulu_offer "" "$current"
    elif [[ -z $ended && $current == -*=* ]]; then
        _tulu_table "$command" "${current%%=*}"
        _tulu_offer "${current%%=*}=" "${current#*=}"
    elif [[ -z $ended && $current == -* ]]; then
        _tulu_table "$command" ""
        words=$options asks= paths=
        _tulu_offer "" "$current"
    else
        _tulu_table "$command" "$argument"
        [[ $argument -eq 0 ]] && words+=" $commands"
        _tulu_offer "" "$current"
    fi
}

complete -o default -F _tulu tulu
