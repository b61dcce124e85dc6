"""Real shells that have `tulu completions install` behind them, each started once."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.completions.terminal import Terminal, program
from tests.program import environment

SHELLS = ("bash", "zsh", "fish")
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
_READLINE = """
set show-all-if-ambiguous on
set enable-bracketed-paste off
set page-completions off
set completion-query-items 0
"""


@dataclass
class Shell:
    """A shell with a home of its own; its prompt is a dollar sign."""

    name: str
    home: Path
    terminal: Terminal

    def type(self, text: str) -> None:
        """Begin an empty line on an empty screen, and type on it."""
        self.terminal.type("\x15\x0c")
        self.terminal.wait(lambda shown: shown == "$", "an empty line")
        self.terminal.type(text)

    def completes(self, typed: str, line: str) -> None:
        """Press Tab behind what is typed, and wait until the line is the one expected."""
        self.type(typed + "\t")
        self.terminal.wait(lambda shown: shown.splitlines()[:1] == [f"$ {line}"], line)

    def configure(self, text: str) -> None:
        """Write the config file of `tulu`."""
        (self.home / "config.toml").write_text(text)


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Shell]]:
    """Gives the running shell of a name, which is started when it is first asked for."""
    running: dict[str, Shell] = {}

    def get(name: str) -> Shell:
        if name not in running:
            running[name] = start(name, tmp_path_factory.mktemp(name))
        return running[name]

    yield get
    for shell in running.values():
        shell.terminal.close()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, started: Callable[[str], Shell]) -> Shell:
    """One of the shells, with a config file that is empty."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    found = started(name)
    found.configure("")
    return found


def start(name: str, folder: Path) -> Shell:
    """Install the completions as a user does, follow the advice, and start the shell."""
    home, programs = folder / "home", folder / "programs"
    # Where it is missing, fish reads every manual page of the machine in the background.
    generated = home / ".local/share/fish/generated_completions"
    for made in (home / ".config/fish", generated, home / "folder", programs):
        made.mkdir(parents=True)
    program(programs)
    for file in ("schema.json", "two words.txt"):
        (home / file).write_text("{}")
    (home / "hub" / "models--org--cached").mkdir(parents=True)
    env = environment(
        {
            "HOME": str(home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SHELL": f"/somewhere/{name}",
            "INPUTRC": str(home / ".inputrc"),
            "TULU_CONFIG": str(home / "config.toml"),
            "HF_HUB_CACHE": str(home / "hub"),
            "LC_ALL": "C.UTF-8",
        }
    )
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR"):
        env.pop(variable, None)
    (home / "config.toml").write_text("")
    command = ["tulu", "completions", "install"]
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, check=True, text=True)
    write_start_files(home, done.stdout.strip())
    terminal = Terminal([name, "-i"], env, home)
    shell = Shell(name, home, terminal)
    terminal.see("$")
    return shell


def write_start_files(home: Path, place: str) -> None:
    """What a user's own files have: a prompt, and what the shell needs to complete at all."""
    reads = BASH_COMPLETION if BASH_COMPLETION.exists() else place
    (home / ".inputrc").write_text(_READLINE)
    (home / ".bashrc").write_text(f"PS1='$ '\nsource '{reads}'\n")
    (home / ".zshrc").write_text(
        f"PS1='$ '\nfpath=({Path(place).parent} $fpath)\nautoload -Uz compinit\ncompinit -u\n"
    )
    (home / ".config/fish/config.fish").write_text(
        "function fish_prompt; echo '$ '; end\nfunction fish_greeting; end\n"
    )
