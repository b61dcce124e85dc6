"""The candidates that a shell offers when you press Tab, by the placeholder of an option.

The placeholder in --help is the declaration: an option with `metavar="MODEL|none"` takes the
candidates in the row of KINDS for MODEL, and the literal word `none`, which is lower case. A shell
asks at each Tab, so nothing here imports Typer or another slow library.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tulu_cli.errors import TuluError
from tulu_cli.models import FAMILY
from tulu_cli.settings import DTYPES, KEYS, Settings, read_settings

if TYPE_CHECKING:
    from tulu_cli.chat.store.base import Summary


class Candidate(NamedTuple):
    """A word to offer, with a description."""

    word: str
    about: str = ""


Source = Callable[[], Iterable[Candidate]]
Paths = Literal["", "files", "directories"]


@dataclass(frozen=True, slots=True)
class Kind:
    """The candidates for one placeholder.

    The words of `fixed` are written into the shells' scripts, those of `source` are computed at
    each Tab, and `paths` names the files that the shell adds by itself.
    """

    fixed: Source = tuple
    source: Source | None = None
    paths: Paths = ""


def answer(name: str) -> int:
    """Print the candidates for the placeholder `name`, and return the exit code.

    Each is a line: the word, a tab and a description. Errors are not reported, since the text would
    land in the user's prompt.
    """
    kind = KINDS.get(name)
    if kind is None or kind.source is None:
        return 1
    text = "".join(lines(kind.source()))
    try:
        with open(1, "wb", closefd=False) as stdout:
            stdout.write(text.encode("utf-8", "replace"))
    except OSError:
        return 1
    return 0


def lines(candidates: Iterable[Candidate]) -> Iterator[str]:
    """Yield a line for each distinct word, without control characters."""
    seen = {""}
    for word, about in candidates:
        if word not in seen and word.isprintable():
            seen.add(word)
            shown = "".join(sign if sign.isprintable() else " " for sign in about)
            yield f"{word}\t{shown}\n"


def models() -> Iterator[Candidate]:
    """Yield the user's aliases, the Tülu family's, and the repositories in the Hub's cache."""
    for alias, target in _settings().aliases.items():
        yield Candidate(alias, target)
    for row in FAMILY:
        yield Candidate(row.alias, row.repository)
    for repository in cached_repositories():
        yield Candidate(repository, "in the cache")


def cached_repositories() -> list[str]:
    """Return the repositories with a folder in the Hub's cache, complete or not."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = (entry.name for entry in Path(HF_HUB_CACHE).glob("models--*--*"))
    return sorted(name.removeprefix("models--").replace("--", "/") for name in folders)


def system_prompts() -> Iterator[Candidate]:
    """Yield the names that --system takes."""
    yield Candidate("tulu", "the prompt of Ai2's demo")
    yield Candidate("none", "no system prompt")
    for name, text in _settings().prompts.items():
        yield Candidate(name, text)


def sessions() -> Iterator[Candidate]:
    """Yield the sessions of the history, newest first, by name or else by id."""
    yield from (Candidate(one.name or one.id, one.title) for one in _summaries())


def session_names() -> Iterator[Candidate]:
    """Yield the sessions that have a name."""
    yield from (Candidate(one.name, one.title) for one in _summaries() if one.name)


def _summaries() -> "list[Summary]":
    """Return the sessions of the history, opened read-only: Tab repairs nothing, nor waits."""
    from tulu_cli.chat.store.open import history_path, read_only
    from tulu_cli.chat.store.sqlite import Patience

    path = history_path()
    store = read_only(path, Patience(may_wait=lambda: False)) if path.exists() else None
    if store is None:
        return []
    try:
        return store.summaries()
    except TuluError:
        return []
    finally:
        store.close()


def _settings() -> Settings:
    # A broken config file is for the command to complain about; the rest is offered all the same.
    try:
        return read_settings({}, os.environ)
    except TuluError:
        return Settings()


def engines() -> Iterator[Candidate]:
    """Yield the engines that --engine takes, except the one for tests."""
    from tulu_cli.engines.choose import ENGINES

    yield Candidate("auto")
    yield from map(Candidate, ENGINES)


def gpus() -> Iterator[Candidate]:
    """Yield the GPUs of the planner's catalogue, each as one word."""
    from tulu_cli.plan.gpus import CARDS

    yield from (Candidate(card.name.lower().replace(" ", "-")) for card in CARDS)


def formats() -> Iterator[Candidate]:
    """Yield the conversation formats of `tulu template`."""
    from tulu_cli.prompt.inspect.formats import FORMATS

    yield from (Candidate(one.name) for one in FORMATS)


def row_formats() -> Iterator[Candidate]:
    """Yield the row formats of `tulu batch`."""
    from tulu_cli.batch.rows import FORMATS

    yield from map(Candidate, FORMATS)


def file_formats() -> Iterator[Candidate]:
    """Yield the file formats of `tulu history`."""
    from tulu_cli.chat.export import FORMATS

    yield from (Candidate(one.name) for one in FORMATS)


def keys() -> Iterator[Candidate]:
    """Yield the settings by their names in the config file."""
    yield from (Candidate(f"{key.table}.{key.name}".lstrip(".")) for key in KEYS)


def words(*choices: str) -> Source:
    """Return a source of words without descriptions."""
    return lambda: map(Candidate, choices)


KINDS: Mapping[str, Kind] = {
    "MODEL": Kind(source=models, paths="files"),
    "SYSTEM": Kind(source=system_prompts),
    "ID": Kind(source=sessions),
    "SESSION": Kind(source=session_names),
    "ENGINE": Kind(engines),
    "DTYPE": Kind(words(*DTYPES)),
    "METHOD": Kind(words("fp8", "awq", "gptq", "bitsandbytes", "bitsandbytes-int8")),
    "DEVICE": Kind(words("auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps")),
    "GPU": Kind(gpus),
    "KEY": Kind(keys),
    "FORMAT": Kind(formats),
    "ROW-FORMAT": Kind(row_formats),
    "FILE-FORMAT": Kind(file_formats),
    "FILE": Kind(paths="files"),
    "DIR": Kind(paths="directories"),
}
