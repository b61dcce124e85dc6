"""The environment: the Hub's token and switches, proxies, the terminal, the settings, engines."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tulu_cli.doctor.finding import Finding
from tulu_cli.models.hub import is_offline

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SCHEMES = ("http", "https", "socks5", "socks5h")
# What the extra for SOCKS brings of httpx2, by which the Hub's library reaches the network, and of
# httpx, by which its release 1 did.
INSTALL_SOCKS = "pip install 'socksio>=1,<2'"
_CLIPBOARDS = ("pbcopy", "wl-copy", "xclip", "xsel")
_NARROW = 40


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal of stdout; `clipboard` is the program that copies, if there is one."""

    tty: bool
    encoding: str
    width: int
    color: bool
    kind: str
    clipboard: str | None


def judge_hub(environ: Mapping[str, str], token_mode: int | None) -> Iterator[Finding]:
    """Judge access to the Hub; `token_mode` is the mode of the token's file, None without. Pure.

    The token itself is never read.
    """
    variable = next((name for name in _TOKENS if environ.get(name)), None)
    if variable:
        yield Finding("ok", "hub", f"{variable} holds a token for the Hub.")
    elif token_mode is not None:
        yield Finding("ok", "hub", "A token for the Hub is kept in its file.")
    else:
        yield Finding("ok", "hub", "No token for the Hub: open models need none.")
    if token_mode is not None and token_mode & 0o077:
        said = "The file of the Hub's token can be read by others."
        yield Finding("note", "hub", said, f"chmod 600 {_token_place(environ)}")
    if is_offline(environ):
        said = "The environment says offline: only cached models can run."
        yield Finding("note", "hub", said, "unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE")


def judge_proxies(environ: Mapping[str, str], *, socks: bool) -> Iterator[Finding]:
    """Judge the proxies, `socks` if socksio is installed. Pure. Show no proxy's password."""
    for name in _PROXIES:
        for variable in (name, name.lower()):
            if url := environ.get(variable):
                yield judge_proxy(variable, url, socks=socks)


def judge_proxy(variable: str, url: str, *, socks: bool) -> Finding:
    """Judge whether a proxy can be used. Pure."""
    try:
        parts = urlsplit(url)
        scheme, place = parts.scheme, f"{parts.hostname}:{parts.port or 'its usual port'}"
    except ValueError:
        scheme, place = "", ""
    if scheme not in _SCHEMES or not place:
        said = f"{variable} is not the address of a proxy: write http://HOST:PORT or socks5://HOST:PORT."
        return Finding("problem", "proxy", said, f"unset {variable}")
    if scheme.startswith("socks") and not socks:
        said = f"{variable} names a SOCKS proxy, and the library for SOCKS is not installed."
        return Finding("problem", "proxy", said, INSTALL_SOCKS)
    return Finding("note", "proxy", f"{variable} sends what goes to the network to {place}.")


def judge_terminal(terminal: Terminal, no_color: str) -> Iterator[Finding]:
    """Judge the terminal; `no_color` names a variable that switched colours off. Pure."""
    if not terminal.tty:
        yield Finding("ok", "terminal", "stdout is not a terminal: nothing is coloured.")
        return
    if terminal.encoding.lower().replace("-", "") != "utf8":
        said = f"The terminal's encoding is {terminal.encoding}, and answers are UTF-8."
        yield Finding("problem", "terminal", said, "export LC_ALL=C.UTF-8")
    yield Finding("ok", "terminal", f"{terminal.kind or 'unknown'}, {terminal.width} columns.")
    if terminal.width < _NARROW:
        yield Finding("note", "terminal", f"It is narrow: {_NARROW} columns read better.")
    if not terminal.color:
        yield Finding("note", "terminal", f"Colours are off{no_color and f': {no_color}'}.")
    if terminal.clipboard is None:
        said = "No program that copies is installed: copying is left to the terminal."
        yield Finding("note", "terminal", said)


def judge_settings(problems: Sequence[str], path: Path) -> Iterator[Finding]:
    """Judge the settings by their problems, a sentence each. Pure."""
    for problem in problems:
        own = problem.startswith(str(path))
        yield Finding("problem", "settings", problem, "tulu config edit" if own else None)
    if not problems:
        yield Finding("ok", "settings", f"The settings are sound ({path}).")


def read_token_mode(environ: Mapping[str, str]) -> int | None:
    """Return the mode of the file in which the Hub's library keeps a token, None without one."""
    try:
        return _token_place(environ).stat().st_mode & 0o777
    except OSError:
        return None


def read_terminal(*, tty: bool, width: int, color: bool) -> Terminal:
    """Look at the terminal."""
    import locale

    clipboard = next((name for name in _CLIPBOARDS if shutil.which(name)), None)
    encoding = locale.getencoding()
    return Terminal(tty, encoding, width, color, os.environ.get("TERM", ""), clipboard)


def why_no_color(environ: Mapping[str, str]) -> str:
    """Name the variable that switches colours off; empty if none does. Pure."""
    if environ.get("NO_COLOR"):
        return "NO_COLOR is set"
    return "TERM is dumb" if environ.get("TERM") == "dumb" else ""


def _token_place(environ: Mapping[str, str]) -> Path:
    # https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    if chosen := environ.get("HF_TOKEN_PATH"):
        return Path(chosen).expanduser()
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(home).expanduser() / "token"


def judge_servers(running: Sequence[str], dead: int) -> Iterator[Finding]:
    """Judge the warm engines, by the models' names, and the number of dead ones. Pure."""
    if dead:
        said = f"{dead} warm engine{'s' if dead > 1 else ''} died and left something behind."
        yield Finding("note", "servers", said, "tulu ps")
    if running:
        yield Finding("ok", "servers", f"Warm: {', '.join(running)}.")
    elif not dead:
        yield Finding("ok", "servers", "No engine is warm.")
