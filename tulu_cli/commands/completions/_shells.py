"""The shells that can complete `tulu`: where each script is, and where each shell looks for it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer

import tulu_cli
from tulu_cli.errors import TuluError, UsageError

ShellName = Literal["bash", "zsh", "fish"]
Shell = Annotated[
    ShellName | None,
    typer.Option(help="Shell to complete for.  [default: by $SHELL]"),
]

# In the first lines of what tools/gen_docs.py writes.
_MARK = "Written by tools/gen_docs.py"


@dataclass(frozen=True, slots=True)
class Script:
    """A script's name in completions/, its place in a wheel, and what makes the shell read it."""

    file: str
    shipped: str
    advice: str


SCRIPTS: Mapping[ShellName, Script] = {
    "bash": Script(
        "tulu.bash",
        "share/bash-completion/completions/tulu",
        "bash reads it at the first Tab if bash-completion is installed; without that package, "
        "add to ~/.bashrc: source {place}",
    ),
    "zsh": Script(
        "_tulu",
        "share/zsh/site-functions/_tulu",
        "zsh reads it if ~/.zshrc has this line before compinit: fpath=({folder} $fpath)",
    ),
    "fish": Script(
        "tulu.fish",
        "share/fish/vendor_completions.d/tulu.fish",
        "fish reads it at the first Tab.",
    ),
}


def shell_of(chosen: ShellName | None, environ: Mapping[str, str] = os.environ) -> ShellName:
    """Return the chosen shell, else the user's own. Raise UsageError for an unknown one."""
    name = chosen or Path(environ.get("SHELL", "")).name
    for shell in SCRIPTS:
        if shell == name:
            return shell
    what = f"{name!r} is the shell of SHELL, and" if name else "SHELL is not set:"
    raise UsageError(f"{what} there are completions for {', '.join(SCRIPTS)}: choose with --shell.")


def checkout_of(shell: ShellName) -> Path:
    """Return the path of the script in the project, if tulu runs from there."""
    return Path(tulu_cli.__file__).parent.parent / "completions" / SCRIPTS[shell].file


def script_of(shell: ShellName) -> Path:
    """Return the script: of the checkout that tulu runs from, else of the installed wheel.

    Raise TuluError if it is in neither.
    """
    if (checkout := checkout_of(shell)).is_file():
        return checkout
    for entry in metadata.files("tulu_cli") or ():
        installed = Path(str(entry.locate()))
        if entry.as_posix().endswith(SCRIPTS[shell].shipped) and installed.is_file():
            return installed.resolve()
    raise TuluError(f"The completions for {shell} are not installed: install tulu_cli again.")


def place_of(shell: ShellName, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's own file that the shell looks for; it need not exist."""
    home = Path(environ.get("HOME") or Path.home())
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    if shell == "bash":
        folder = environ.get("BASH_COMPLETION_USER_DIR") or data / "bash-completion"
        return Path(folder) / "completions/tulu"
    if shell == "zsh":
        return data / "zsh/site-functions/_tulu"
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish/completions/tulu.fish"


def require_ours(place: Path) -> None:
    """Raise TuluError if the file is there and not one that we put there.

    A link that leads nowhere is what a checkout that is gone has left of ours.
    """
    try:
        ours = _MARK in place.read_text(encoding="utf-8", errors="replace")[:500]
    except FileNotFoundError:
        return
    except OSError as error:
        raise TuluError(f"{str(place)!r} cannot be read: {error.strerror}.") from error
    if not ours:
        raise TuluError(f"{str(place)!r} is not ours, so it is left alone: move it away first.")
