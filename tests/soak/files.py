"""Damaged histories and outputs, hostile models: each command ends soon, with a sentence.

A command that fails says why on stderr and ends with a code of `tulu_cli/errors.py`. It never takes
the file's fault for a bug of the program.
"""

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.batch_kill import Fate, batch, compare, finish, write_rows
from tests.chat.sessions import chat
from tests.program import TULU, environment
from tests.soak.report import Outcome, Share, keep
from tulu_cli.chat.store.open import open_history
from tulu_cli.errors import ExitCode
from tulu_cli.models import locate, resolve

SECONDS = 20.0  # after which a command hangs
ROWS = 60
PAGE = 4096  # of SQLite
CODES = frozenset(int(code) for code in ExitCode)


@dataclass
class Damage:
    """What was damaged, and the commands that have to bear it, in `env`."""

    what: str
    path: Path
    commands: list[list[str]]
    env: dict[str, str] = field(default_factory=dict)
    is_right: Callable[[], str | None] = lambda: None


def soak(share: Share) -> Outcome:
    """Damage one kind of file after the other, until the time is over."""
    dice = share.random("files")
    kinds: list[Histories | Outputs | Models] = [
        Histories(share.folder),
        Outputs(share.folder),
        Models(share.folder),
    ]
    runs, fails, worst = Counter[str](), Counter[str](), dict[str, float]()
    broken: list[str] = []
    for _ in share.rounds():
        for kind in kinds:
            with kind.damaged(dice) as damage:
                for command in damage.commands:
                    done = run(command, damage.env)
                    runs[damage.what] += 1
                    fails[damage.what] += done.code != 0
                    worst[damage.what] = max(worst.get(damage.what, 0), done.seconds)
                    problem = done.problem() or (done.code == 0 and damage.is_right())
                    if problem:
                        broken.append(f"{keep(damage.path)}: tulu {' '.join(command)}: {problem}")
    rows = [(what, runs[what], fails[what], f"{worst[what]:.1f}") for what in sorted(runs)]
    return Outcome(["damaged", "commands", "refused", "max s"], list(rows), broken)


@dataclass
class Ended:
    """How a command ended; `code` is None if it hung."""

    code: int | None
    stderr: str
    seconds: float

    def problem(self) -> str | None:
        """Return what is wrong with that, or None."""
        if self.code is None:
            return f"still running after {SECONDS:.0f} s"
        for word in ("this is a bug", "Traceback", "Error:"):
            if word in self.stderr:
                return self.stderr.strip()[-300:]
        if self.code not in CODES:
            return f"exit code {self.code}: {self.stderr.strip()[-300:]}"
        said = [line for line in self.stderr.splitlines() if line.startswith("tulu: ")]
        if self.code and not said:
            return f"exit code {self.code} without a sentence: {self.stderr.strip()[-300:]!r}"
        return None


def run(arguments: list[str], env: dict[str, str]) -> Ended:
    """Run a command of tulu to its end, or until it hangs."""
    clock = os.times().elapsed
    try:
        done = subprocess.run(
            [*TULU, *arguments],
            env=environment(env),
            input=b"fake: say more\n",
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ended(None, "", SECONDS)
    said = done.stderr.decode(errors="replace")
    return Ended(done.returncode, said, os.times().elapsed - clock)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Return the bytes with some flipped, a page of zeros, or without an end."""
    changed = bytearray(data)
    place = dice.randrange(len(data))
    match dice.choice(("flipped", "zeroed", "cut")):
        case "flipped":
            for _ in range(dice.randint(1, 20)):
                changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        case "zeroed":
            begin = place - place % PAGE
            changed[begin : begin + PAGE] = bytes(len(changed[begin : begin + PAGE]))
        case _:
            del changed[place:]
    return bytes(changed)


class Histories:
    """A history of some sessions, whose file is damaged, or a text in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "data"
        self._path = self._folder / "chats" / "history.db"
        store = open_history(self._path, print)
        for number in range(20):
            texts = (f"question {number}.{turn} " * 40 for turn in range(6))
            store.write(chat(*texts, name=f"s{number}"))
        store.close()
        self._sound = self._path.read_bytes()

    @contextmanager
    def damaged(self, dice: random.Random) -> Iterator[Damage]:
        """Damage the file; give each command the same damage."""
        shutil.rmtree(self._path.parent)
        self._path.parent.mkdir(mode=0o700)
        self._path.write_bytes(damaged(self._sound, dice))
        name = f"s{dice.randrange(20)}"
        model = ["-m", "demo", "--engine", "fake", "--no-server"]
        commands = [
            ["history", "list"],
            ["history", "show", name],
            ["history", "search", "question"],
            ["history", "export", name],
            ["chat", "--session", name, *model],
        ]
        env = {"TULU_DATA_DIR": str(self._folder)}
        yield Damage("history", self._path, dice.sample(commands, 2), env)


class Outputs:
    """The output of a batch, which `--resume` has to take up or refuse."""

    def __init__(self, folder: Path) -> None:
        rows, self._whole, self._path = (folder / f"{name}.jsonl" for name in ("in", "all", "out"))
        write_rows(rows, ROWS)
        finish(batch("fake", rows, self._whole))
        self._command = batch("fake", rows, self._path)[len(TULU) :]

    @contextmanager
    def damaged(self, dice: random.Random) -> Iterator[Damage]:
        """Damage the output of a run that had ended."""
        self._path.write_bytes(damaged(self._whole.read_bytes(), dice))
        yield Damage("output of a batch", self._path, [self._command], is_right=self._complete)

    def _complete(self) -> str | None:
        """Return what a run that ended well has left wrong: a text may stay damaged, no row."""
        fate = compare(self._whole, self._path)
        return None if fate[:2] == (0, 0) else f"{Fate(*fate)}"


class Models:
    """The demo model with a hostile file in its folder; nothing of it is loaded."""

    def __init__(self, folder: Path) -> None:
        self._sound = locate(resolve("demo")).directory
        self._folder = folder / "model"

    @contextmanager
    def damaged(self, dice: random.Random) -> Iterator[Damage]:
        """Put one hostile file into the folder."""
        self._folder.mkdir()
        try:
            for path in self._sound.iterdir():
                (self._folder / path.name).symlink_to(path)
            yield self._damage(dice)
        finally:
            shutil.rmtree(self._folder)

    def _damage(self, dice: random.Random) -> Damage:
        what = dice.choice(("config.json", "model.safetensors", "a pipe", "a file of a model"))
        name = what if "." in what else dice.choice(sorted(os.listdir(self._folder)))
        path = self._folder / name
        path.unlink()
        if what == "a pipe":
            os.mkfifo(path)
        elif what == "config.json":
            path.write_text(hostile_config((self._sound / name).read_text(), dice))
        elif what == "model.safetensors" or name == "model.safetensors":
            path.write_bytes(hostile_weights(dice))
        else:
            path.write_bytes(damaged((self._sound / name).read_bytes(), dice))
        model = str(self._folder)
        commands = [
            ["plan", model, "--gpu", "h100"],
            ["models", "show", model],
            ["template", "render", "-m", model, "hello"],
            ["template", "tokens", "-m", model, "hello"],
            ["complete", "-m", model, "--engine", "fake", "--no-server", "--max-tokens", "4", "hi"],
        ]
        return Damage(what, path, dice.sample(commands, 2))


def hostile_config(sound: str, dice: random.Random) -> str:
    """Return a configuration with hostile values, or that is not one at all."""
    config = json.loads(sound)
    for name in dice.sample(sorted(config), dice.randint(1, 3)):
        config[name] = hostile_value(dice)
    return json.dumps(dice.choice((config, config, config, hostile_value(dice))))


def hostile_value(dice: random.Random) -> Any:
    """Return a value that nobody expects."""
    nested: Any = []
    for _ in range(dice.choice((1, 900))):
        nested = [nested]
    numbers = (0, -1, -5, 1, 2**31, 10**9, 2**63, 10**30, 10**4000, -0.5, 1e308, float("nan"))
    others: tuple[Any, ...] = (
        None,
        True,
        "",
        "x" * 10_000,
        "\x1b]52;c;YQ==\x07\u202e",
        "\ud800",
        {},
        {"a": {}},
    )
    return dice.choice((*numbers, *others, nested, [7] * 1000, ["a", None]))


def hostile_weights(dice: random.Random) -> bytes:
    """Return a file of safetensors whose header promises what it does not hold.

    https://huggingface.co/docs/safetensors: the length in 8 bytes, JSON, and the tensors.
    """
    tensors: Any = {"__metadata__": {"format": "pt"}}
    for number in range(dice.randint(1, 5)):
        shape = dice.choice(([576, 576], [hostile_value(dice)], [10**4000] * 2000, [2] * 500, []))
        tensor = {"dtype": "BF16", "shape": shape, "data_offsets": [0, 2 * 576 * 576]}
        if dice.random() < 0.5:
            tensor[dice.choice(sorted(tensor))] = hostile_value(dice)
        tensors[f"model.layers.{number}.mlp.weight"] = tensor
    text = dice.choice((json.dumps(tensors), json.dumps(hostile_value(dice)), "[" * 100_000))
    data = text.encode()
    length = dice.choice((len(data), len(data), len(data), 0, 1, len(data) + 1, 2**63, 2**64 - 1))
    return length.to_bytes(8, "little") + data + bytes(1000)
