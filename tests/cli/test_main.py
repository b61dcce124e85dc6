"""The boundary: which subcommand runs, and what each error becomes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.program import environment, shell, tulu
from tulu_cli import commands, errors
from tulu_cli.cli import main, router
from tulu_cli.errors import ExitCode, TuluError

CLASSES = sorted(
    (item for item in vars(errors).values() if isinstance(item, type) and item not in (ExitCode,)),
    key=lambda item: item.__name__,
)


def explained(error: BaseException, capfd: pytest.CaptureFixture[str], **options: bool) -> str:
    """The exit code and what is said."""
    code = main.explain(error, **options)
    out, err = capfd.readouterr()
    assert out == ""
    return f"{int(code)} {err}"


@pytest.mark.parametrize("error", [item for item in CLASSES if issubclass(item, TuluError)])
def test_each_error_of_ours_is_its_sentence_and_its_code(
    error: type[TuluError], capfd: pytest.CaptureFixture[str]
) -> None:
    assert explained(error("It broke."), capfd) == f"{error.exit_code} tulu: It broke.\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), "130 "),
        (SystemExit(143), "143 "),
        (SystemExit(None), "1 "),
        (MemoryError(), "3 tulu: out of memory; a smaller model or --max-model-len needs less.\n"),
        (KeyError("x"), "1 tulu: this is a bug, KeyError: 'x'; --debug shows where.\n"),
        (BrokenPipeError(32, "Broken pipe"), "1 tulu: Broken pipe; --debug shows where.\n"),
        (OSError(28, "Disk full", "/a\x1b"), "1 tulu: Disk full '/a\\x1b'; --debug shows where.\n"),
        (OSError("odd"), "1 tulu: this is a bug, OSError: odd; --debug shows where.\n"),
        (typer.BadParameter("No."), "2 tulu: Invalid value: No; see `tulu --help`.\n"),
        (TuluError("\x1b[2J"), "1 tulu: ␛[2J\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_else(
    error: BaseException, expected: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert explained(error, capfd) == expected


def test_debug_shows_where_but_not_for_an_interruption(capfd: pytest.CaptureFixture[str]) -> None:
    assert explained(KeyError("x"), capfd, debug=True).startswith("1 KeyError: 'x'\n")
    assert explained(KeyboardInterrupt(), capfd, debug=True) == "130 "


def program(script: str, *arguments: str, shell: str = '"$@"') -> tuple[int, str, str]:
    """What `main` does where the script has put something in the place of `m.run`."""
    code = f"import atexit, os, signal, tulu_cli.cli.main as m\n{script}\nm.main()"
    command = ["bash", "-c", shell, "bash", sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_bug_is_one_sentence_and_a_traceback_with_debug() -> None:
    bug = "m.run = lambda _arguments: {}['x']"
    sentence = "tulu: this is a bug, KeyError: 'x'; --debug shows where.\n"
    assert program(bug) == (1, "", sentence)
    code, _, stderr = program(bug, "--debug")
    assert code == 1
    assert stderr.startswith("Traceback (most recent call last):")
    assert stderr.endswith(sentence)


def test_a_pipe_of_someone_elses_is_no_reader_that_left() -> None:
    script = "def run(_arguments): raise BrokenPipeError(32, 'Broken pipe')\nm.run = run"
    assert program(script) == (1, "", "tulu: Broken pipe; --debug shows where.\n")


def test_an_end_of_file_of_someone_elses_has_its_own_name(
    capfd: pytest.CaptureFixture[str],
) -> None:
    error = typer.Abort()
    error.__cause__ = EOFError("gone")
    expected = "1 tulu: this is a bug, EOFError: gone; --debug shows where.\n"
    assert explained(error, capfd) == expected


@pytest.mark.parametrize(
    "script",
    [
        "m.run = lambda _: {}['x']; m.explain = lambda *_, **__: os.kill(os.getpid(), 2)",
        "m.run = lambda _: 0; atexit.register(os.kill, os.getpid(), 2)",
    ],
    ids=["while an error is explained", "while the interpreter ends"],
)
def test_a_late_ctrl_c_is_quiet_too(script: str) -> None:
    assert program(script) == (130, "", "")


def test_the_place_of_a_closed_stream_is_taken() -> None:
    script = (
        "m.run = lambda _: sum(os.fstat(n).st_rdev != os.stat('/dev/null').st_rdev for n in {})"
    )
    for closed, numbers in (("<&-", (0,)), (">&-", (1,)), ("2>&-", (2,)), ("<&- >&-", (0, 1))):
        assert program(script.format(numbers), shell=f'"$@" {closed}')[0] == 0


GROUPS = {
    "__init__.py": "",
    "one.py": "def one() -> None: print('one')",
    "silent/__init__.py": '"""A group of two."""',
    "silent/_shared.py": "",
    "silent/import_.py": "def import_(name: str) -> None: print('import', name)",
    "silent/important.py": "def important() -> int: return 8",
    "speaking/__init__.py": (
        "import typer\n"
        "def speaking(context: typer.Context, loud: bool = False) -> None:\n"
        '    """A group that does something."""\n'
        "    if context.invoked_subcommand is None: print('speaking', loud)\n"
    ),
    "speaking/broken.py": "import nothing_of_this_name",
}


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commands/ folder of the test's own, with groups in it."""
    for name, source in GROUPS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.setattr(router, "_COMMANDS", tmp_path)
    monkeypatch.setattr(commands, "__path__", [str(tmp_path)])
    for name in [name for name in sys.modules if name.startswith("tulu_cli.commands.")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_module_is_a_command_and_a_folder_a_group(groups: None) -> None:
    assert router.command_names() == ["one", "silent", "speaking"]
    assert router.command_names("silent") == ["import", "important"]
    assert router.route(["silent", "import", "one"]) == ("silent", "import")
    assert router.route(["silent", "one"]) == ("silent",)
    assert router.route(["one", "silent"]) == ("one",)
    assert router.route(["--help", "one"]) == ()


def test_only_the_verb_that_was_asked_for_is_imported(
    groups: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["one"]) == 0
    assert main.run(["silent", "import", "it"]) == 0
    assert main.run(["silent", "important"]) == 8
    assert capsys.readouterr().out == "one\nimport it\n"
    with pytest.raises(ModuleNotFoundError):
        main.run(["speaking"])  # a group knows all its verbs


def test_a_group_is_the_same_from_the_root(
    groups: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speaking/broken.py").unlink()
    main.run(["speaking", "--loud"])
    router.app_of(())(["speaking"], standalone_mode=False)
    router.app_of(())(["silent", "import", "it"], standalone_mode=False)
    assert capsys.readouterr().out == "speaking True\nspeaking False\nimport it\n"


def test_a_silent_group_says_its_help(groups: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["silent"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: tulu silent [OPTIONS] COMMAND" in err
    assert "A group of two." in err


def test_no_summary_is_cut(
    groups: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speaking/broken.py").unlink()
    words = "so many words that no list could have them all on one line of eighty columns"
    (tmp_path / "silent/__init__.py").write_text(f'"""A group of {words}."""')
    (tmp_path / "one.py").write_text(f'def one() -> None:\n    """One of {words}.\n\n    Two."""')
    main.run(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"one One of {words}. silent A group of {words}. speaking A group that does" in shown


def test_examples_are_shown_as_they_are_typed(
    groups: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = 'EXAMPLES = (("Do it", "tulu   one"), ("Again", "tulu one"))\n'
    (tmp_path / "one.py").write_text(f"{examples}def one() -> None: print(1)")
    (tmp_path / "silent/__init__.py").write_text(f'"""A group."""\n{examples}')
    for name in ("one", "silent"):
        main.run([name, "--help"])
        shown = capsys.readouterr().out
        assert "Examples:\n  # Do it\n  tulu   one\n  # Again\n  tulu one\n" in shown


def test_the_list_of_commands_imports_none_and_says_what_they_say() -> None:
    def summaries(app: typer.Typer) -> dict[str, str | None]:
        found = typer.main.get_command(app)
        assert isinstance(found, typer.core.TyperGroup)
        return {name: command.short_help for name, command in found.commands.items()}

    assert summaries(router.listing_app()) == summaries(router.app_of(()))


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--", "complete"], 2), (["--version", "complete"], 0)]
)
def test_a_command_that_does_not_come_first_is_not_run(arguments: list[str], code: int) -> None:
    done = tulu(*arguments)
    assert done.returncode == code
    assert done.stdout == (b"" if code else tulu("--version").stdout)


def test_the_subcommands_are_there() -> None:
    assert "complete" in router.command_names()


def test_help_lists_each_subcommand_and_is_the_same_alone() -> None:
    everything = tulu("--help").stdout.decode()
    for name in router.command_names():
        assert f"\n  {name} " in everything
    alone = tulu("complete", "--help").stdout
    assert alone.startswith(b"Usage: tulu complete [OPTIONS]")
    assert b"\nExit codes:\n  0    It did what was asked.\n" in alone


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["complet"],
            b"tulu: No such command 'complet'. Did you mean 'complete', 'completions', 'compare'?",
        ),
        (["--nope"], b"tulu: No such option: --nope; see `tulu --help`.\n"),
    ],
)
def test_what_does_not_exist_is_a_usage_error(arguments: list[str], expected: bytes) -> None:
    done = tulu(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(expected)


def test_without_a_command_help_is_talk() -> None:
    done = tulu()
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == tulu("--help").stdout


def test_nohup_is_respected() -> None:
    script = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from tulu_cli.cli.main import end_on_signals; end_on_signals();"
        "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,"
        "callable(signal.getsignal(signal.SIGTERM)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, check=True
    )
    assert done.stdout == b"True True\n"


def test_a_signal_is_an_exit_code() -> None:
    with pytest.raises(SystemExit) as caught:
        main._terminate(signal.SIGTERM, None)
    assert caught.value.code == 143


def test_the_exit_codes_are_those_of_the_design() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 65, 130, 141]


def test_the_shell_sees_a_reader_that_left() -> None:
    done = shell('"$@" | true; echo "${PIPESTATUS[0]}"; "$@" > ' + os.devnull, "--help")
    assert done.returncode == 0
    assert done.stdout in (b"141\n", b"0\n")
