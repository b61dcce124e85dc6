"""What Tab does in bash, zsh and fish, on a terminal, after `tulu completions install`."""

import json

import pytest

from tests.completions.conftest import Shell

HOSTILE = "hostile$(touch pwned);`touch pwned` 'a' \\ \"b\""


def test_commands_and_the_verbs_of_a_group(shell: Shell) -> None:
    shell.completes("tulu completi", "tulu completions")
    shell.completes("tulu completions uni", "tulu completions uninstall")
    shell.type("tulu completions \t")
    shell.terminal.see("install", "show", "uninstall")


def test_options_of_the_command_that_the_line_has_come_to(shell: Shell) -> None:
    shell.completes("tulu complete --gree", "tulu complete --greedy")
    shell.completes(
        "tulu complete --dtype auto -n 2 'a prompt' --gree",
        "tulu complete --dtype auto -n 2 'a prompt' --greedy",
    )
    shell.completes("tulu completions install --he", "tulu completions install --help")


def test_the_value_of_an_option_is_no_command(shell: Shell) -> None:
    shell.completes(
        "tulu complete --stop completions --gree", "tulu complete --stop completions --greedy"
    )
    if shell.name == "bash":  # to the others -- is the end of the options wherever it stands
        shell.completes("tulu complete -s -- --gree", "tulu complete -s -- --greedy")


@pytest.mark.parametrize("between", [" ", "="])
def test_values_of_options(shell: Shell, between: str) -> None:
    for option, start, rest in (
        ("--dtype", "bf", "loat16"),
        ("--engine", "tr", "ansformers"),
        ("--shell", "zs", "h"),
        ("--model", "405b-s", "ft"),
        ("--schema", "sch", "ema.json"),
    ):
        command = "tulu completions install" if option == "--shell" else "tulu complete"
        line = f"{command} {option}{between}{start}"
        shell.completes(line, line + rest)


def test_formats_and_what_a_plan_can_find(shell: Shell) -> None:
    for line, rest in (
        ("tulu batch --format shar", "egpt"),
        ("tulu history export --format mark", "down"),
        ("tulu template convert --to pai", "rs"),
        ("tulu template render --from au", "to"),
        ("tulu plan --find util", "ization"),
    ):
        shell.completes(line, line + rest)


def test_arguments(shell: Shell) -> None:
    shell.completes("tulu completions show ba", "tulu completions show bash")
    shell.completes("tulu template diff tul", "tulu template diff tulu")
    shell.completes("tulu template diff tulu 405b-d", "tulu template diff tulu 405b-dpo")


def test_names_of_files(shell: Shell) -> None:
    shell.completes("tulu complete -f two", r"tulu complete -f two\ words.txt")
    shell.completes("tulu complete -m ./fo", "tulu complete -m ./folder/")


def test_models_of_the_family_of_the_user_and_in_the_cache(shell: Shell) -> None:
    shell.configure('[alias]\n"mine:latest" = "org/name"\n"my own" = "./model"\n')
    shell.completes("tulu complete -m 405b-d", "tulu complete -m 405b-dpo")
    shell.completes("tulu complete -m org/c", "tulu complete -m org/cached")
    shell.completes("tulu complete -m mine:la", "tulu complete -m mine:latest")
    shell.completes("tulu complete -m my", r"tulu complete -m my\ own")
    shell.type("tulu complete --model 8b-\t")
    shell.terminal.see("8b-dpo", "8b-rm", "8b-sft")


def test_the_named_system_prompts(shell: Shell) -> None:
    shell.configure('[prompts]\npirate = "You are a pirate."\n')
    shell.completes("tulu complete -s pir", "tulu complete -s pirate")


def test_a_hostile_name_is_a_word_and_no_command(shell: Shell) -> None:
    shell.configure(f'[alias]\n{json.dumps(HOSTILE)} = "demo"\n"wipe\\u001b[2J" = "demo"\n')
    shell.type("tulu complete -m hosti\t")
    shell.terminal.see("touch", "pwned", "b")
    # The shell itself says what the line means: another command in the place of tulu.
    shell.terminal.type("\x01" + r"printf '<%s>\n' " + "\r")
    shell.terminal.see(f"<{HOSTILE}>")
    assert not (shell.home / "pwned").exists()


def test_where_there_is_nothing_to_offer_the_line_stays(shell: Shell) -> None:
    for line in ("tulu complete --temperature ", "tulu complete ", "tulu complete -- --gree"):
        shell.type(line + "\tX")
        shown = shell.terminal.see(f"$ {line}X")
        assert "schema.json" not in shown


def test_a_broken_config_file_costs_only_what_is_in_it(shell: Shell) -> None:
    shell.configure("[alias")
    shell.completes("tulu complete -m 405b-d", "tulu complete -m 405b-dpo")
    assert shell.terminal.text() == "$ tulu complete -m 405b-dpo"
