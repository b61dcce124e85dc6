"""The completions and the manual pages: they are what the declarations say, and well made."""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

import tulu_cli
from tests.program import tulu
from tools import gen_docs, man
from tools.roff import escaped, filled, prose
from tools.tree import Command, read_tree, sentence
from tools.values import Values, from_placeholder
from tulu_cli.cli import router
from tulu_cli.cli.completion import Candidate
from tulu_cli.errors import ExitCode

TREE = read_tree()
COMMANDS = list(TREE.walk())
PAGES = sorted((gen_docs.ROOT / "man").glob("*.1"))
every_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_what_is_checked_in_is_what_would_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert gen_docs.main(["--check"]) == 0, capsys.readouterr().out


def test_drift_is_named_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gen_docs.main([], tmp_path) == 0
    assert gen_docs.main(["--check"], tmp_path) == 0
    (tmp_path / "man" / "tulu-gone.1").write_text("of a command that is gone")
    (tmp_path / "completions" / "tulu.fish").unlink()
    (tmp_path / "man" / "tulu.1").write_text("by hand")
    capsys.readouterr()
    assert gen_docs.main(["--check"], tmp_path) == 1
    named = [line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert named == ["completions/tulu.fish", "man/tulu-gone.1", "man/tulu.1"]
    assert gen_docs.main([], tmp_path) == 0
    assert gen_docs.main(["--check"], tmp_path) == 0


@every_command
def test_every_command_has_help_and_its_page_has_every_option(command: Command) -> None:
    page = (gen_docs.ROOT / "man" / f"{command.name.replace(' ', '-')}.1").read_text()
    assert command.summary
    for parameter in (*command.options, *command.arguments):
        assert parameter.help
        assert f"\\fB{escaped(parameter.declaration)}\\fR" in page
    for code in ExitCode:
        assert f"\\fB{code.value}\\fR" in page


@every_command
def test_help_has_the_sections_of_the_page_and_no_types_of_python(command: Command) -> None:
    done = tulu(*command.path, "--help")
    shown, page = done.stdout.decode(), man.pages(TREE)[f"{command.name.replace(' ', '-')}.1"]
    assert not re.search(r"<(str|int|float|list|bool)|\d<=x", shown)
    assert "fake" not in shown + page
    titles = [title for title, _ in command.sections if len(command.sections) > 1]
    assert re.findall(r"^\.SS (.*)$", page, re.MULTILINE) == titles
    assert [line for line in shown.splitlines() if line.rstrip(":") in titles] == [
        f"{title}:" for title in titles
    ]
    for code, meaning in command.exit_codes.items():
        assert re.search(rf"^  {code} +{re.escape(meaning)}$", shown, re.MULTILINE)
        assert f"\\fB{code}\\fR\n" in page


@every_command
def test_no_fact_stands_twice_on_a_page(command: Command) -> None:
    page = (gen_docs.ROOT / "man" / f"{command.name.replace(' ', '-')}.1").read_text()
    for title in ("ENVIRONMENT", "FILES"):
        facts = page.partition(f".SH {title}\n")[2].partition(".SH ")[0].split(".TP\n")[1:]
        assert len(facts) == len(set(facts))


@pytest.mark.parametrize("name", ["complete", "serve", "ps", "stop", "logs"])
def test_what_meets_warm_engines_says_where_their_sockets_are(name: str) -> None:
    assert "TULU_RUNTIME_DIR" in (gen_docs.ROOT / "man" / f"tulu-{name}.1").read_text()


@every_command
def test_the_examples_are_command_lines_that_the_program_takes(command: Command) -> None:
    for about, typed in command.declared("EXAMPLES"):
        assert not about.endswith("."), "the page adds a colon"
        for words in pipeline(typed):
            path = router.route(words[1:])
            if words[0] == "tulu":
                parsed = typer.main.get_command(router.app_of(path))
                parsed.make_context("tulu", words[1 + len(path) :]).close()


def pipeline(typed: str) -> list[list[str]]:
    """The commands of a line of shell: what stands between its pipes and redirections."""
    commands: list[list[str]] = [[]]
    words = shlex.shlex(typed, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    for word in words:
        if set(word) <= set("|<>&;()"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]


def test_every_variable_that_the_program_reads_has_a_place_in_the_page() -> None:
    page = (gen_docs.ROOT / "man" / "tulu.1").read_text().replace(r"\fB", " ")
    documented = set(re.findall(r"\b[A-Z][A-Z0-9_]{3,}\b", page))
    read = set()
    for path in Path(tulu_cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            read.update(variables(node))
    internal = {"_TULU_CANDIDATES", "TERM", "HOME", "HF_HUB_DISABLE_TELEMETRY"}
    internal |= {"DISPLAY", "WAYLAND_DISPLAY"}
    assert {"TULU_CONFIG", "TULU_CACHE_DIR"} <= read
    assert {name for name in read - internal if not name.startswith("VLLM_")} <= documented


def variables(node: ast.AST) -> list[str]:
    """The names in `environ.get("NAME")` and `getenv("NAME")`."""
    if not isinstance(node, ast.Call) or not node.args:
        return []
    called = ast.unparse(node.func)
    name = node.args[0]
    reads = called.endswith(("environ.get", "getenv")) and isinstance(name, ast.Constant)
    return [str(name.value)] if reads and isinstance(name, ast.Constant) else []


@every_page
@pytest.mark.parametrize(
    "command",
    [["mandoc", "-T", "lint"], ["groff", "-ww", "-man", "-T", "utf8", "-z"]],
    ids=lambda command: command[0],
)
def test_a_page_is_clean(command: list[str], page: Path) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, page], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("placeholder", "expected"),
    [
        ("TEXT", Values()),
        ("KEY=VALUE", Values()),
        ("tulu|none|TEXT", Values((Candidate("tulu"), Candidate("none")))),
        ("MODEL", Values(asks=("MODEL",), paths="files")),
        ("[FILE|-]...", Values(paths="files")),
        ("FILE.svg", Values(paths="files")),
        ("DIR", Values(paths="directories")),
        ("NAME[:N]|24GiB[:N]", Values()),
        ("SYSTEM|MODEL", Values(asks=("SYSTEM", "MODEL"), paths="files")),
    ],
)
def test_a_placeholder_says_what_completes_it(placeholder: str, expected: Values) -> None:
    assert from_placeholder(placeholder) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One thing. Another.", "One thing"),
        ("Reads e.g.\nthis: of v1.2 too.  [default: 3]", "Reads e.g"),
        ("No stop", "No stop"),
        ("", ""),
    ],
)
def test_a_summary_is_the_first_sentence(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_nothing_in_a_text_commands_roff() -> None:
    assert escaped("a\\b 'c' --d ü") == r"a\eb \(aqc\(aq \-\-d \[u00FC]"
    assert list(filled(".SH not\n a section. Next")) == [r"\&.SH not a section.", "Next"]
    page = list(prose("One.\n\n\b\n.as\n  it is\n\nTwo."))
    assert page == [
        "One.",
        ".PP",
        ".in +4",
        ".nf",
        r"\&.as",
        "  it is",
        ".fi",
        ".in",
        ".PP",
        "Two.",
    ]
