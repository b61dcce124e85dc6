"""The GPU catalogue, one row a GPU, and the GPU that a plan counts with. To add one, add a row.

`gib` is the memory that the driver lets CUDA allocate, as PyTorch prints it ("total capacity of
79.18 GiB"), the least seen in public logs; rows marked * were not seen and have 97.5 % of the
nominal size, which is less than any GPU seen reports. Bandwidth (GB/s) and dense TFLOP/s with
32-bit accumulation are from the vendors' data sheets: NVIDIA's of V100, T4, A10, A30, A40, A100,
L4, L40, L40S, H100, H200, H20, GH200, B200 and B300, its white papers of Turing, Ampere, Ada and
Blackwell for RTX cards, its page of DGX Spark for GB10 (whose 1,000 TFLOP/s are sparse FP4, eight
times bfloat16), and AMD's CDNA 2, 3 and 4 data sheets. The Turing and Volta TFLOP/s are
for float16, as they have no bfloat16.
"""

import re
from typing import NamedTuple

from tulu_cli.errors import UsageError
from tulu_cli.plan.activation import Chip
from tulu_cli.plan.values import GIB


class Card(NamedTuple):
    """A row of the catalogue: GiB, GB/s, dense TFLOP/s, multiprocessors.

    `link` is the connection between several: nvswitch, nvlink, xgmi or pcie.
    """

    name: str
    gib: float
    bandwidth: float
    bf16: float
    fp8: float | None
    link: str
    capability: tuple[int, int]
    processors: int
    aliases: tuple[str, ...] = ()


_VOLTA, _TURING, _AMPERE, _GEFORCE30, _ADA = (7, 0), (7, 5), (8, 0), (8, 6), (8, 9)
_HOPPER, _BLACKWELL, _ULTRA, _GEFORCE50, _GB10 = (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)
_CDNA = (9, 4)

CARDS = (
    Card("V100-16GB", 15.77, 900, 125, None, "nvlink", _VOLTA, 80, ("v100",)),
    Card("V100-32GB", 31.73, 900, 125, None, "nvlink", _VOLTA, 80),
    Card("T4", 14.56, 320, 65, None, "pcie", _TURING, 40),
    Card("A10", 22.06, 600, 125, None, "pcie", _GEFORCE30, 72),
    Card("A10G", 22.06, 600, 70, None, "pcie", _GEFORCE30, 80),
    Card("A30", 23.5, 933, 165, None, "nvlink", _AMPERE, 56),
    Card("A40", 44.34, 696, 149.7, None, "pcie", _GEFORCE30, 84),
    Card("L4", 22.03, 300, 121, 242, "pcie", _ADA, 58),
    Card("L40", 44.39, 864, 181, 362, "pcie", _ADA, 142),
    Card("L40S", 44.39, 864, 362, 733, "pcie", _ADA, 142),
    Card("A100-40GB", 39.39, 1555, 312, None, "nvswitch", _AMPERE, 108),
    Card("A100-80GB", 79.14, 2039, 312, None, "nvswitch", _AMPERE, 108, ("a100",)),
    Card("H100", 79.18, 3350, 989, 1979, "nvswitch", _HOPPER, 132, ("h100-80gb", "h100-sxm")),
    Card("H100-PCIe", 79.1, 2000, 756, 1513, "pcie", _HOPPER, 114),
    Card("H100-NVL", 93.1, 3900, 835, 1671, "nvlink", _HOPPER, 132),
    Card("H200", 139.8, 4800, 989, 1979, "nvswitch", _HOPPER, 132, ("h200-141gb",)),
    Card("H20", 95.0, 4000, 148, 296, "nvswitch", _HOPPER, 78),
    Card("GH200", 94.5, 4000, 989, 1979, "nvlink", _HOPPER, 132),
    Card("B200", 178.35, 8000, 2250, 4500, "nvswitch", _BLACKWELL, 148),
    Card("B300", 267.0, 8000, 2250, 4500, "nvswitch", _ULTRA, 148),  # * 275,040 MiB at the driver
    Card("RTX-2060", 5.79, 336, 26, None, "pcie", _TURING, 30),
    Card("RTX-2070", 7.79, 448, 30, None, "pcie", _TURING, 36),
    Card("RTX-2080", 7.79, 448, 40, None, "pcie", _TURING, 46),
    Card("RTX-2080-Ti", 10.75, 616, 54, None, "pcie", _TURING, 68),
    Card("RTX-3060", 11.76, 360, 25, None, "pcie", _GEFORCE30, 28),
    Card("RTX-3060-Ti", 7.78, 448, 32, None, "pcie", _GEFORCE30, 38),
    Card("RTX-3070", 7.78, 448, 41, None, "pcie", _GEFORCE30, 46),
    Card("RTX-3080", 9.76, 760, 60, None, "pcie", _GEFORCE30, 68),
    Card("RTX-3080-Ti", 11.76, 912, 68, None, "pcie", _GEFORCE30, 80),
    Card("RTX-3090", 23.57, 936, 71, None, "pcie", _GEFORCE30, 82),
    Card("RTX-3090-Ti", 23.57, 1008, 80, None, "pcie", _GEFORCE30, 84),
    Card("RTX-4060", 7.65, 272, 30, 60, "pcie", _ADA, 24),
    Card("RTX-4060-Ti-16GB", 15.6, 288, 44, 88, "pcie", _ADA, 34),  # *
    Card("RTX-4070", 11.6, 504, 58, 117, "pcie", _ADA, 46),
    Card("RTX-4070-Super", 11.6, 504, 71, 142, "pcie", _ADA, 56),
    Card("RTX-4070-Ti", 11.6, 504, 80, 160, "pcie", _ADA, 60),
    Card("RTX-4070-Ti-Super", 15.6, 672, 88, 176, "pcie", _ADA, 66),
    Card("RTX-4080", 15.6, 717, 97, 195, "pcie", _ADA, 76),
    Card("RTX-4080-Super", 15.6, 736, 104, 209, "pcie", _ADA, 80),
    Card("RTX-4090", 23.53, 1008, 165, 330, "pcie", _ADA, 128),
    Card("RTX-5060", 7.65, 448, 38, 77, "pcie", _GEFORCE50, 30),  # *
    Card("RTX-5060-Ti-16GB", 15.46, 448, 47, 95, "pcie", _GEFORCE50, 36),
    Card("RTX-5070", 11.49, 672, 62, 123, "pcie", _GEFORCE50, 48),
    Card("RTX-5070-Ti", 15.46, 896, 88, 176, "pcie", _GEFORCE50, 70),
    Card("RTX-5080", 15.46, 960, 113, 225, "pcie", _GEFORCE50, 84),
    Card("RTX-5090", 31.34, 1792, 210, 419, "pcie", _GEFORCE50, 170),
    Card("RTX-A6000", 47.43, 768, 155, None, "pcie", _GEFORCE30, 84, ("a6000",)),
    Card("RTX-6000-Ada", 47.38, 960, 364, 728, "pcie", _ADA, 142),
    Card("RTX-PRO-4000", 23.4, 672, 147, 295, "pcie", _GEFORCE50, 70),  # *
    Card("RTX-PRO-4500", 31.2, 896, 211, 422, "pcie", _GEFORCE50, 82),  # *
    Card("RTX-PRO-5000", 46.8, 1344, 268, 536, "pcie", _GEFORCE50, 110),  # *
    Card("RTX-PRO-6000", 94.97, 1597, 504, 1008, "pcie", _GEFORCE50, 188),
    Card("GB10", 121.69, 273, 125, 250, "pcie", _GB10, 48, ("dgx-spark",)),  # the machine's memory
    Card("MI210", 63.98, 1638, 181, None, "xgmi", _CDNA, 104),
    Card("MI250X", 63.98, 1638, 191, None, "xgmi", _CDNA, 110),  # one of its two dies
    Card("MI300X", 191.69, 5300, 1307, 2615, "xgmi", _CDNA, 304),
    Card("MI325X", 255.7, 6000, 1307, 2615, "xgmi", _CDNA, 304),
    Card("MI355X", 287.5, 8000, 2516, 5033, "xgmi", _CDNA, 256),
)


MOST_GPUS = 4096
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:GiB|G)", re.IGNORECASE)
_FILLER = re.compile(r"nvidia|geforce|tesla|quadro|amd|instinct|[\s_()/-]+")
# A GPU that is only known by its size is taken for one of this kind.
_PLAIN_CHIP = Chip((8, 6), 84)


class Gpu(NamedTuple):
    """One of several equal GPUs, with all the memory that CUDA sees and how much of it is free.

    `card` is its row of the catalogue, or None; `capability` is the compute capability that the
    driver reports.
    """

    name: str
    total_bytes: int
    free_bytes: int
    card: Card | None = None
    capability: tuple[int, int] | None = None

    @property
    def chip(self) -> Chip:
        """The compute capability and multiprocessors, those of a common GPU where unknown."""
        if self.card is None:
            return _PLAIN_CHIP._replace(capability=self.capability or _PLAIN_CHIP.capability)
        return Chip(self.card.capability, self.card.processors)

    @property
    def link(self) -> str:
        """The connection to the other GPUs, PCIe where unknown."""
        return self.card.link if self.card else "pcie"


def catalogue_gpu(card: Card) -> Gpu:
    """Return a GPU of the catalogue with all of its memory free."""
    size = int(card.gib * GIB)
    return Gpu(card.name, size, size, card)


def parse_gpu(text: str) -> tuple[Gpu, int]:
    """Read `h100`, `h100:4`, `24GiB` or `24GiB:2`: a GPU and how many. Raise UsageError."""
    name, _, count = text.partition(":")
    number = _count(count, text) if count or ":" in text else 1
    if match := _SIZE.fullmatch(name.strip()):
        size = int(float(match.group(1)) * GIB)
        if not 0 < size <= 2**50:
            raise UsageError(
                f"--gpu {text}: the memory of a GPU must be more than 0 and at most 2^20 GiB."
            )
        return Gpu(f"{match.group(1)} GiB", size, size), number
    card = find_card(name)
    if card is None:
        raise UsageError(f"--gpu {text}: unknown GPU. {_suggestion(name)}")
    return catalogue_gpu(card), number


def find_card(name: str) -> Card | None:
    """Return the row of the catalogue with that name or alias, or None."""
    plain = _plain(name)
    for card in CARDS:
        if plain in {_plain(known) for known in (card.name, *card.aliases)}:
            return card
    return None


def card_of_driver(name: str, total_bytes: int) -> Card | None:
    """Return the row for a driver's name, such as "NVIDIA A100-SXM4-80GB", or None.

    Of the rows with that memory, it is the one with the longest name that occurs in it.
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
        raise UsageError(f"--gpu {whole}: the number of GPUs must be from 1 to {MOST_GPUS:,}.")
    return int(text)


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    known = {_plain(card.name): card.name.lower() for card in CARDS}
    near = get_close_matches(_plain(name), known, 3, 0.5)
    if near:
        return f"Did you mean {' or '.join(known[key] for key in near)}?"
    return "Write a name such as h100 or rtx-4090, or a size such as 24GiB."
