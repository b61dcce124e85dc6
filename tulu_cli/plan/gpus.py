"""What `--gpu` names, and the GPU that the planner counts with."""

import re
from dataclasses import dataclass, replace

from tulu_cli.errors import UsageError
from tulu_cli.plan.activation import Chip
from tulu_cli.plan.catalogue import CARDS, Card
from tulu_cli.plan.values import GIB

MOST_GPUS = 4096
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:GiB|G)", re.IGNORECASE)
_FILLER = re.compile(r"nvidia|geforce|tesla|quadro|amd|instinct|[\s_()/-]+")
# A card that is only known by its size is taken for one of this kind.
_PLAIN_CHIP = Chip((8, 6), 84)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One of several equal GPUs: all the memory that CUDA sees, and what of it is free now.

    `card` is its row in the catalogue, None for one that has none; `capability` is then what its
    driver says.
    """

    name: str
    total_bytes: int
    free_bytes: int
    card: Card | None = None
    capability: tuple[int, int] | None = None

    @property
    def chip(self) -> Chip:
        """Its compute capability and multiprocessors, as far as known, else a plain card's."""
        if self.card is None:
            return replace(_PLAIN_CHIP, capability=self.capability or _PLAIN_CHIP.capability)
        return Chip(self.card.capability, self.card.processors)

    @property
    def link(self) -> str:
        """How it talks to others."""
        return self.card.link if self.card else "pcie"


def catalogue_gpu(card: Card) -> Gpu:
    """A card of the catalogue with nothing on it."""
    size = int(card.gib * GIB)
    return Gpu(card.name, size, size, card)


def parse_gpu(text: str) -> tuple[Gpu, int]:
    """`h100`, `h100:4`, `24GiB` or `24GiB:2` as a GPU and how many. Raises UsageError."""
    name, _, count = text.partition(":")
    number = _count(count, text) if count or ":" in text else 1
    if match := _SIZE.fullmatch(name.strip()):
        size = int(float(match.group(1)) * GIB)
        if not 0 < size <= 2**50:
            raise UsageError(f"--gpu {text}: a GPU has more than 0 and less than 2^20 GiB.")
        return Gpu(f"{match.group(1)} GiB", size, size), number
    card = find_card(name)
    if card is None:
        raise UsageError(f"--gpu {text}: unknown GPU. {_suggestion(name)}")
    return catalogue_gpu(card), number


def find_card(name: str) -> Card | None:
    """The row of the catalogue that a user's or the driver's name means."""
    plain = _plain(name)
    for card in CARDS:
        if plain in {_plain(known) for known in (card.name, *card.aliases)}:
            return card
    return None


def card_of_driver(name: str, total_bytes: int) -> Card | None:
    """The row for a name that the driver gives, such as "NVIDIA A100-SXM4-80GB".

    It is the one with the longest name in it whose memory is the right one too.
    """
    plain = _plain(name)
    near = [card for card in CARDS if abs(total_bytes / GIB / card.gib - 1) < 0.04]
    names = sorted(near, key=lambda card: len(card.name), reverse=True)
    return next((card for card in names if _model(card) in plain), None)


def _model(card: Card) -> str:
    return _plain(re.sub(r"-\d+GB$", "", card.name))


def _plain(name: str) -> str:
    return _FILLER.sub("", name.lower())


def _count(text: str, whole: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_GPUS:
        raise UsageError(f"--gpu {whole}: the number of GPUs is from 1 to {MOST_GPUS:,}.")
    return int(text)


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    known = {_plain(card.name): card.name.lower() for card in CARDS}
    near = get_close_matches(_plain(name), known, 3, 0.5)
    if near:
        return f"Did you mean {' or '.join(known[key] for key in near)}?"
    return "Write a name such as h100 or rtx-4090, or a size such as 24GiB."
