# Completion of tulu in bash.
# Written by tools/gen_docs.py from the declarations of the options: change those.

# What command $1 has, and what its option $2, or its argument of number $2, takes.
_tulu_table() {
    commands= options= words= asks= paths= takes=yes
    case $1 in
@TABLE@
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
