"""Every `console` block of the README and of docs/ is run, and prints what the page says.

The blocks of a page run in their order in one folder, on the demo model, which one warm engine
answers for. A line `...` stands for any lines, `# exit 3` behind a command for its exit code.
An `sh` block is not run and says why in its first line; its commands are still parsed.
"""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import typer

from tests.completions.terminal import program
from tests.program import DEADLINE_SECONDS, environment
from tulu_cli.cli import router

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run, or from machine to machine.
DIFFERENT = {
    "<rates>": r"\d+ tokens/s in, \d+ out",
    "<rate>": r"\d+(\.\d+)? tokens/s",
    "<cached>": r"( \(\d+ cached\))?(?=, \d+ completion)",
    "<time>": r"\d+(\.\d+)? s\b",
    "<date>": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\dZ)?",
    "<version>": r"\b\d+\.\d+\.\d+\b",
    "<id>": r"\b[0-9a-f]{12}\b",
    "<path>": r"(?<![\w/.])(?:/[\w.-]+){2,}",
}


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page that are in this language."""
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def steps(block: str) -> Iterator[tuple[str, int, str]]:
    """Yield the commands of a block, each with its exit code and with what it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        typed, *_ = re.findall(r"\A.*\n(?:> .*\n)*", part)
        command, printed = typed.rstrip("\n").replace("\n> ", "\n"), part.removeprefix(typed)
        code = re.search(r"  # exit (\d+)$", command)
        yield command, int(code[1]) if code else 0, printed


def normalised(text: str) -> str:
    """Return the text with its times, versions, ids and paths replaced by their names."""
    for name, pattern in DIFFERENT.items():
        text = re.sub(pattern, name, text)
    return text


def is_printed(expected: str, printed: str) -> bool:
    """Return whether the output is, as a whole, what the page says."""
    parts = re.split(r"^\.\.\.\n", normalised(expected), flags=re.MULTILINE)
    return bool(re.fullmatch("(?s:.*)".join(map(re.escape, parts)), normalised(printed)))


@pytest.fixture(scope="module")
def surroundings(demo_directory: Path) -> Iterator[dict[str, str]]:
    """Give the environment of a reader who has the demo model and nothing else."""
    # A socket's whole path has to fit in 107 bytes.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="tulu-") as folder:
        program(Path(folder))
        yield environment(
            {
                "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "TULU_CACHE_DIR": str(demo_directory.parents[1]),
                "TULU_RUNTIME_DIR": f"{folder}/run",
                "COLUMNS": "80",
                "SHELL": "/bin/bash",
                "CUDA_VISIBLE_DEVICES": "",
                "TULU_DTYPE": "float32",  # with which greedy answers are the same everywhere
            }
        )


@pytest.fixture(scope="module")
def warm(surroundings: dict[str, str]) -> Iterator[dict[str, str]]:
    """Give the environment with an engine that has the demo model warm."""
    options = ["demo", "--engine", "transformers", "--detach"]
    done = run(["tulu", "serve", *options], surroundings, Path("/tmp"))
    assert done.returncode == 0, done.stdout
    yield {name: text for name, text in surroundings.items() if name != "TULU_DTYPE"}
    run(["tulu", "stop", "--all"], surroundings, Path("/tmp"))


def run(
    command: list[str], env: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with stdout and stderr in one stream."""
    return subprocess.run(
        command,
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_prints_what_it_says(
    page: Path, tmp_path: Path, surroundings: dict[str, str], request: pytest.FixtureRequest
) -> None:
    own = {name: str(tmp_path / name.lower()) for name in ("TULU_DATA_DIR", "TULU_CONFIG")}
    (tmp_path / "tulu_config").write_text("")
    if any("$ tulu serve" in block for block in blocks(page, "console")):
        own["TULU_RUNTIME_DIR"] = f"{surroundings['TULU_RUNTIME_DIR']}-{page.stem}"
        env = surroundings | own
    else:
        env = request.getfixturevalue("warm") | own
    try:
        for block in blocks(page, "console"):
            for command, code, expected in steps(block):
                done = run(["bash", "-c", command], env, tmp_path)
                assert done.returncode == code, f"$ {command}\n{done.stdout}"
                assert is_printed(expected, done.stdout), f"$ {command}\n{done.stdout}"
    finally:
        if "TULU_RUNTIME_DIR" in own:
            run(["tulu", "stop", "--all"], env, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_not_run_says_why_and_is_parsed(page: Path) -> None:
    for block in blocks(page, "sh"):
        first, *lines = block.splitlines()
        assert re.match(r"# (needs|installs) ", first), first
        for line in lines:
            for words in commands(line):
                path = router.route(words[1:])
                parsed = typer.main.get_command(router.app_of(path))
                parsed.make_context("tulu", words[1 + len(path) :]).close()


def commands(line: str) -> Iterator[list[str]]:
    """Yield the command lines of `tulu` in a line of shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("|<>&;()"):
            found.append([])
        else:
            found[-1].append(word)
    return (each for each in found if each[:1] == ["tulu"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_pages_are_run_and_compared() -> None:
    found = [step for page in PAGES for block in blocks(page, "console") for step in steps(block)]
    assert len(found) >= 40
    assert sum(printed == "...\n" for _, _, printed in found) <= 5
    assert {name for page in PAGES for name, _ in FENCED.findall(page.read_text())} <= {
        *("console", "sh", "toml", "text"),
    }


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("ready after 1.5 s\n", "ready after 22.0 s\n", True),
        ("a\n...\nb\n", "a\n1\n2\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "b\n", False),
        ("in /home/ana/x.json\n", "in /tmp/y/z\n", True),
    ],
)
def test_the_comparison(expected: str, printed: str, same: bool) -> None:
    assert is_printed(expected, printed) is same
