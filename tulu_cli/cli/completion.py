"""What may stand for a placeholder of the command line, for the shells that complete it.

The placeholder that --help shows is the declaration. An option with `metavar="MODEL|none"` takes
what the row of KINDS for MODEL offers, and the word `none`, which is lower case. A shell asks at
each Tab, so nothing here loads Typer, or any library that takes long to load.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tulu_cli.errors import TuluError
from tulu_cli.models import family_models
from tulu_cli.settings import DTYPES, KEYS, Settings, read_settings

if TYPE_CHECKING:
    from tulu_cli.chat.store.base import Summary


class Candidate(NamedTuple):
    """A word to offer, and what it means."""

    word: str
    about: str = ""


Source = Callable[[], Iterable[Candidate]]
Paths = Literal["", "files", "directories"]


@dataclass(frozen=True, slots=True)
class Kind:
    """The candidates for a placeholder: words that are the same everywhere, and words to ask for.

    Those of `fixed` are written into the scripts of the shells, those of `source` are asked for
    at each Tab, and `paths` says which names of files the shell adds by itself.
    """

    fixed: Source = tuple
    source: Source | None = None
    paths: Paths = ""


def answer(name: str) -> int:
    """Print the candidates that `name` asks for, a line each: the word, a tab, what it means.

    Returns the exit code. Nothing that goes wrong is said: it would land in the user's prompt.
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
    """The lines of an answer: each word once, and nothing that could command a terminal."""
    seen = {""}
    for word, about in candidates:
        if word not in seen and word.isprintable():
            seen.add(word)
            shown = "".join(sign if sign.isprintable() else " " for sign in about)
            yield f"{word}\t{shown}\n"


def models() -> Iterator[Candidate]:
    """The user's aliases, those of the family, and the repositories in the Hub's cache."""
    for alias, target in _settings().aliases.items():
        yield Candidate(alias, target)
    for row in family_models():
        yield Candidate(row.alias, row.repository)
    for repository in cached_repositories():
        yield Candidate(repository, "in the cache")


def cached_repositories() -> list[str]:
    """The repositories that the Hub's cache has a folder of, whole or in part."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = (entry.name for entry in Path(HF_HUB_CACHE).glob("models--*--*"))
    return sorted(name.removeprefix("models--").replace("--", "/") for name in folders)


def system_prompts() -> Iterator[Candidate]:
    """What --system takes by name."""
    yield Candidate("tulu", "the prompt of Ai2's demo")
    yield Candidate("none", "no system prompt")
    for name, text in _settings().prompts.items():
        yield Candidate(name, text)


def sessions() -> Iterator[Candidate]:
    """The sessions of the history, the last written first: by name, or by id if they have none."""
    yield from (Candidate(one.name or one.id, one.title) for one in _summaries())


def session_names() -> Iterator[Candidate]:
    """The sessions that have a name."""
    yield from (Candidate(one.name, one.title) for one in _summaries() if one.name)


def _summaries() -> "list[Summary]":
    """What the history lists. It is only read: Tab mends nothing."""
    from tulu_cli.chat.store.open import history_path, read_only

    path = history_path()
    store = read_only(path) if path.exists() else None
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
    """The values of --engine."""
    from tulu_cli.engines.choose import ENGINES

    yield Candidate("auto")
    yield from map(Candidate, ENGINES)


def gpus() -> Iterator[Candidate]:
    """The cards of the planner's catalogue, as one word each."""
    from tulu_cli.plan.gpus import CARDS

    yield from (Candidate(card.name.lower().replace(" ", "-")) for card in CARDS)


def formats() -> Iterator[Candidate]:
    """The shapes of a conversation that `tulu template` reads and writes."""
    from tulu_cli.prompt.inspect.formats import FORMATS

    yield from (Candidate(one.name) for one in FORMATS)


def row_formats() -> Iterator[Candidate]:
    """The shapes of a row that `tulu batch` reads."""
    from tulu_cli.batch.rows import FORMATS

    yield from map(Candidate, FORMATS)


def file_formats() -> Iterator[Candidate]:
    """What `tulu history` writes and reads."""
    from tulu_cli.chat.export import FORMATS

    yield from (Candidate(one.name) for one in FORMATS)


def keys() -> Iterator[Candidate]:
    """The settings, as the config file names them."""
    yield from (Candidate(f"{key.table}.{key.name}".lstrip(".")) for key in KEYS)


def words(*choices: str) -> Source:
    """A source of words that have nothing more to them."""
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
