"""The GPU catalogue, one row a GPU, and the GPU that a plan counts with. To add one, add a row.

`gib` is the memory that the driver lets CUDA allocate, as PyTorch prints it ("total capacity of
79.18 GiB"), the least seen in public logs; rows marked * were not seen and have 97.5 % of the
nominal size, which is less than any of these reports. Intel's driver keeps more: 15.11 GiB of 16
are left of an A770, and rows marked + have that part of their size. Bandwidth (GB/s) and dense
TFLOP/s with 32-bit accumulation are from the vendors' data sheets: NVIDIA's of V100, T4, A10, A30,
A40, A100, L4, L40, L40S, H100, H200, H20, GH200, B200 and B300, its white papers of Turing, Ampere,
Ada and Blackwell for RTX cards, its data sheets of the workstation cards, its page of DGX Spark for
GB10 (whose 1,000 TFLOP/s are sparse FP4, eight times bfloat16), that of Jetson Thor (2,070 such),
and AMD's CDNA 2, 3 and 4 data sheets. W7900 has the 864 GB/s and 122 TFLOP/s that sellers print,
Strix Halo (Radeon 8060S) those of 256 bits of LPDDR5X-8000 and of 40 units with 512 operations at
2.9 GHz, MI350X the TFLOP/s of MI355X at 2.2 instead of 2.4 GHz, RX 7900 XTX and R9700 those of 512
operations at 2.5 GHz and of 1,024 at 2.92 GHz for each unit, T400 to T1000 twice their float32.
Intel's Arc cards have half of the INT8 TOPS that Intel prints, and the Max series 4,096 operations
a clock for each Xe core. Laptop cards have the TFLOP/s of their highest clock; the maker of the
laptop may set a lower one. The Turing and Volta TFLOP/s are for float16, as they have no bfloat16.
"""

import re
from typing import NamedTuple

from tulu_cli.errors import UsageError
from tulu_cli.plan.activation import Chip
from tulu_cli.plan.values import GIB


class Card(NamedTuple):
    """A row of the catalogue: GiB, GB/s, dense TFLOP/s, multiprocessors.

    `link` is the connection between several: nvswitch, nvlink, xgmi, xelink or pcie. `amd` tells
    AMD's capabilities, which are the numbers of its architectures, from NVIDIA's.
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
    amd: bool = False


_VOLTA, _TURING, _AMPERE, _GEFORCE30, _ADA = (7, 0), (7, 5), (8, 0), (8, 6), (8, 9)
_HOPPER, _BLACKWELL, _ULTRA, _GEFORCE50, _GB10 = (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)
_ORIN, _THOR = (8, 7), (11, 0)
# AMD's: gfx90a, gfx942, gfx950, gfx1100, gfx1151 and gfx1201, as vLLM reads them
# (platforms/rocm.py).
_CDNA2, _CDNA3, _CDNA4, _RDNA3, _RDNA3_5 = (9, 0), (9, 4), (9, 5), (11, 0), (11, 5)
_RDNA4 = (12, 0)
_XE = (0, 0)  # vLLM knows no capability of Intel's GPUs (platforms/xpu.py)
_INTEGRATED = (_ORIN, _THOR, _GB10)

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
    Card("GH200", 94.5, 4000, 989, 1979, "nvlink", _HOPPER, 132, ("gh200-96gb",)),
    Card("GH200-144GB", 140.4, 4900, 989, 1979, "nvlink", _HOPPER, 132),  # *
    Card("B200", 178.35, 8000, 2250, 4500, "nvswitch", _BLACKWELL, 148),
    Card("B300", 267.0, 8000, 2250, 4500, "nvswitch", _ULTRA, 148),  # * 275,040 MiB at the driver
    Card("RTX-2060", 5.79, 336, 26, None, "pcie", _TURING, 30),
    Card("RTX-2070", 7.79, 448, 30, None, "pcie", _TURING, 36),
    Card("RTX-2080", 7.79, 448, 40, None, "pcie", _TURING, 46),
    Card("RTX-2080-Ti", 10.75, 616, 54, None, "pcie", _TURING, 68),
    Card("Titan-RTX", 23.47, 672, 130, None, "pcie", _TURING, 72),
    Card("Quadro-RTX-4000", 7.6, 416, 57, None, "pcie", _TURING, 36),  # *
    Card("Quadro-RTX-5000", 15.5, 448, 89, None, "pcie", _TURING, 48),  # *
    Card("Quadro-RTX-6000", 23.47, 672, 130, None, "pcie", _TURING, 72),
    Card("Quadro-RTX-8000", 46.8, 672, 130, None, "pcie", _TURING, 72),  # *
    Card("T400-4GB", 3.8, 80, 2.2, None, "pcie", _TURING, 6, ("t400",)),  # *
    Card("T600", 3.8, 160, 3.4, None, "pcie", _TURING, 10),  # *
    Card("T1000", 3.8, 160, 5, None, "pcie", _TURING, 14),  # *
    Card("T1000-8GB", 7.6, 160, 5, None, "pcie", _TURING, 14),  # *
    Card("RTX-3060", 11.76, 360, 25, None, "pcie", _GEFORCE30, 28),
    Card("RTX-3060-Ti", 7.78, 448, 32, None, "pcie", _GEFORCE30, 38),
    Card("RTX-3070", 7.78, 448, 41, None, "pcie", _GEFORCE30, 46),
    Card("RTX-3080", 9.76, 760, 60, None, "pcie", _GEFORCE30, 68),
    Card("RTX-3080-Ti", 11.76, 912, 68, None, "pcie", _GEFORCE30, 80),
    Card("RTX-3090", 23.57, 936, 71, None, "pcie", _GEFORCE30, 82),
    Card("RTX-3090-Ti", 23.57, 1008, 80, None, "pcie", _GEFORCE30, 84),
    Card("RTX-3060-Laptop", 5.8, 336, 26, None, "pcie", _GEFORCE30, 30),  # *
    Card("RTX-3070-Laptop", 7.8, 448, 33, None, "pcie", _GEFORCE30, 40),  # *
    Card("RTX-3080-Laptop", 15.6, 448, 42, None, "pcie", _GEFORCE30, 48),  # *
    Card("RTX-4060", 7.65, 272, 30, 60, "pcie", _ADA, 24),
    Card("RTX-4060-Ti-16GB", 15.6, 288, 44, 88, "pcie", _ADA, 34),  # *
    Card("RTX-4070", 11.6, 504, 58, 117, "pcie", _ADA, 46),
    Card("RTX-4070-Super", 11.6, 504, 71, 142, "pcie", _ADA, 56),
    Card("RTX-4070-Ti", 11.6, 504, 80, 160, "pcie", _ADA, 60),
    Card("RTX-4070-Ti-Super", 15.6, 672, 88, 176, "pcie", _ADA, 66),
    Card("RTX-4080", 15.6, 717, 97, 195, "pcie", _ADA, 76),
    Card("RTX-4080-Super", 15.6, 736, 104, 209, "pcie", _ADA, 80),
    Card("RTX-4090", 23.53, 1008, 165, 330, "pcie", _ADA, 128),
    Card("RTX-4090-D", 23.53, 1008, 147, 294, "pcie", _ADA, 114),
    Card("RTX-4060-Laptop", 7.65, 256, 29, 58, "pcie", _ADA, 24),  # *
    Card("RTX-4070-Laptop", 7.65, 256, 40, 80, "pcie", _ADA, 36),  # *
    Card("RTX-4080-Laptop", 11.6, 432, 68, 136, "pcie", _ADA, 58),  # *
    Card("RTX-4090-Laptop", 15.6, 576, 79, 159, "pcie", _ADA, 76),  # *
    Card("RTX-5060", 7.65, 448, 38, 77, "pcie", _GEFORCE50, 30),  # *
    Card("RTX-5060-Ti-16GB", 15.46, 448, 47, 95, "pcie", _GEFORCE50, 36),
    Card("RTX-5070", 11.49, 672, 62, 123, "pcie", _GEFORCE50, 48),
    Card("RTX-5070-Ti", 15.46, 896, 88, 176, "pcie", _GEFORCE50, 70),
    Card("RTX-5080", 15.46, 960, 113, 225, "pcie", _GEFORCE50, 84),
    Card("RTX-5090", 31.34, 1792, 210, 419, "pcie", _GEFORCE50, 170),
    Card("RTX-5070-Laptop", 7.65, 384, 43, 86, "pcie", _GEFORCE50, 36),  # *
    Card("RTX-5070-Ti-Laptop", 11.6, 672, 52, 105, "pcie", _GEFORCE50, 46),  # *
    Card("RTX-5080-Laptop", 15.5, 896, 70, 140, "pcie", _GEFORCE50, 60),  # *
    Card("RTX-5090-Laptop", 23.4, 896, 91, 181, "pcie", _GEFORCE50, 82),  # *
    Card("RTX-A4000", 15.6, 448, 77, None, "pcie", _GEFORCE30, 48, ("a4000",)),  # *
    Card("RTX-A5000", 23.5, 768, 111, None, "pcie", _GEFORCE30, 64, ("a5000",)),  # *
    Card("RTX-A6000", 47.43, 768, 155, None, "pcie", _GEFORCE30, 84, ("a6000",)),
    Card("RTX-4000-Ada", 19.5, 360, 77, 153, "pcie", _ADA, 48),  # *
    Card("RTX-5000-Ada", 31.2, 576, 261, 522, "pcie", _ADA, 100),  # *
    Card("RTX-6000-Ada", 47.38, 960, 364, 728, "pcie", _ADA, 142),
    Card("RTX-PRO-4000", 23.4, 672, 147, 295, "pcie", _GEFORCE50, 70),  # *
    Card("RTX-PRO-4500", 31.2, 896, 211, 422, "pcie", _GEFORCE50, 82),  # *
    Card("RTX-PRO-5000", 46.8, 1344, 268, 536, "pcie", _GEFORCE50, 110),  # *
    Card("RTX-PRO-6000", 94.97, 1597, 504, 1008, "pcie", _GEFORCE50, 188),
    Card("GB10", 121.69, 273, 125, 250, "pcie", _GB10, 48, ("dgx-spark",)),  # the machine's memory
    Card("Thor", 122.8, 273, 259, 517, "pcie", _THOR, 20, ("jetson-thor", "jetson-agx-thor")),
    Card("MI210", 63.98, 1638, 181, None, "xgmi", _CDNA2, 104, amd=True),
    Card("MI250X", 63.98, 1638, 191, None, "xgmi", _CDNA2, 110, amd=True),  # one of its two dies
    Card("MI300X", 191.69, 5300, 1307, 2615, "xgmi", _CDNA3, 304, amd=True),
    Card("MI325X", 255.7, 6000, 1307, 2615, "xgmi", _CDNA3, 304, amd=True),
    Card("MI350X", 287.5, 8000, 2307, 4614, "xgmi", _CDNA4, 256, amd=True),
    Card("MI355X", 287.5, 8000, 2516, 5033, "xgmi", _CDNA4, 256, amd=True),
    Card("W7900", 44.98, 864, 122, None, "pcie", _RDNA3, 96, ("radeon-pro-w7900",), amd=True),
    Card("RX-7900-XTX", 23.98, 960, 123, None, "pcie", _RDNA3, 96, ("7900-xtx",), amd=True),
    # Its memory corrects errors, for which a sixteenth of it is set aside.
    Card("R9700", 29.86, 640, 191, 383, "pcie", _RDNA4, 64, ("radeon-ai-pro-r9700",), amd=True),
    # Half of the 128 GB of the machine, which is what Linux gives the GPU unless told otherwise.
    Card("Strix-Halo", 62.47, 256, 59, None, "pcie", _RDNA3_5, 40, ("radeon-8060s",), amd=True),
    Card("Arc-A770", 15.11, 560, 137, None, "pcie", _XE, 32),
    Card("Arc-B580", 11.33, 456, 116, None, "pcie", _XE, 20, ("b580",)),  # +
    Card("Arc-Pro-B50", 15.11, 224, 85, None, "pcie", _XE, 16, ("arc-b50", "b50")),  # +
    Card("Arc-Pro-B60", 22.66, 456, 98, None, "pcie", _XE, 20, ("arc-b60", "b60")),  # +
    Card("Arc-Pro-B70", 30.22, 608, 183, None, "pcie", _XE, 32, ("arc-b70", "b70")),  # +
    Card("Max-1100", 45.3, 1229, 355, None, "xelink", _XE, 56, ("gpu-max-1100",)),  # +
    # One of its two stacks, which are two devices unless ZE_FLAT_DEVICE_HIERARCHY says otherwise.
    Card("Max-1550", 60.4, 1638, 419, None, "xelink", _XE, 64, ("gpu-max-1550",)),  # +
)


MOST_GPUS = 4096
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:GiB|G)", re.IGNORECASE | re.ASCII)
_AMD = "AMD"  # what the names of AMD's driver begin with
_FILLER = re.compile(r"nvidia|geforce|tesla|amd|instinct|intel|\(r\)|\(tm\)|graphics|[\s_()/-]+")
# A GPU that is only known by its size is taken for one of this kind.
_PLAIN_CHIP = Chip((8, 6), 84)


class Gpu(NamedTuple):
    """One of several equal GPUs, with all the memory that CUDA sees and how much of it is free.

    `card` is its row of the catalogue, or None; `capability` is the compute capability that the
    driver reports; with `shared`, the driver says that the memory is the machine's own.
    """

    name: str
    total_bytes: int
    free_bytes: int
    card: Card | None = None
    capability: tuple[int, int] | None = None
    shared: bool = False

    @property
    def chip(self) -> Chip:
        """The compute capability and multiprocessors, those of a common GPU where unknown."""
        if self.card is None:
            capability = self.capability or _PLAIN_CHIP.capability
            return _PLAIN_CHIP._replace(capability=capability, amd=self.name.startswith(_AMD))
        return Chip(self.card.capability, self.card.processors, self.card.amd)

    @property
    def shares_memory(self) -> bool:
        """True if the GPU has no memory but the machine's, as GB10 (DGX Spark) and Jetson."""
        return self.shared or (self.chip.capability in _INTEGRATED and not self.chip.amd)

    @property
    def hides_memory(self) -> bool:
        """True if the driver tells vLLM less memory than CUDA or HIP has, or nothing at all.

        Of Strix Halo amdsmi tells what the firmware sets aside, half a GiB by default.
        """
        return self.shares_memory or (self.chip.amd and self.chip.capability == _RDNA3_5)

    @property
    def link(self) -> str:
        """The connection to the other GPUs, PCIe where unknown."""
        return self.card.link if self.card else "pcie"


def catalogue_gpu(card: Card) -> Gpu:
    """Return a GPU of the catalogue with all of its memory free."""
    size = int(card.gib * GIB)
    return Gpu(card.name, size, size, card)


def parse_gpu(text: str) -> tuple[Gpu, int]:
    """Read `h100`, `h100:4`, `24GiB:2` or `rtx-4080@15.99GiB`: a GPU and how many.

    A size beside a name is that of the memory. Raise UsageError.
    """
    kind, _, count = text.partition(":")
    number = _count(count, text) if count or ":" in text else 1
    name, at, size = kind.partition("@")
    if not at and _SIZE.fullmatch(kind.strip()):
        total = _bytes(kind, text)
        return Gpu(f"{total / GIB:g} GiB", total, total), number
    card = find_card(name)
    if card is None:
        raise UsageError(f"--gpu {text}: unknown GPU. {_suggestion(name)}")
    gpu = catalogue_gpu(card)
    if at:
        total = _bytes(size, text)
        gpu = gpu._replace(total_bytes=total, free_bytes=total)
    return gpu, number


def _bytes(size: str, whole: str) -> int:
    match = _SIZE.fullmatch(size.strip())
    total = int(float(match.group(1)) * GIB) if match else 0
    if not 0 < total <= 2**50:
        raise UsageError(
            f"--gpu {whole}: the memory of a GPU is a size such as 24GiB, of more than 0 and at "
            "most 2^20 GiB."
        )
    return total


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
    gib = total_bytes / GIB
    near = [card for card in CARDS if abs(gib - card.gib) < max(0.5, 0.04 * card.gib)]
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
