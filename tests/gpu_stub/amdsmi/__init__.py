"""An amdsmi for the tests: the calls that tulu makes of AMD's, answered from the environment.

AMD_GPUS    how many there are (1); each has 192 GiB, of which 1 GiB is in use by process 77
AMD_FAIL    "INDEX:CALL", such as 1:memory_total: that call for that GPU fails; "init" and "handles"
            are calls of no GPU, "import" is what AMD's package does where its library is missing
"""

import os
from enum import IntEnum
from typing import Any

_INDEX, _, _CALL = os.environ.get("AMD_FAIL", "").partition(":")


class AmdSmiLibraryException(Exception):
    """An error in three lines, as AMD's are."""

    def __str__(self) -> str:
        return "Error code:\n\t13 | AMDSMI_STATUS_ADDRESS_FAULT - Bad address"


class AmdSmiMemoryType(IntEnum):
    """The kinds of memory."""

    VRAM = 0


def _check(call: str, index: int | None = None) -> None:
    if call == _CALL and (index is None or str(index) == _INDEX):
        raise AmdSmiLibraryException


if _CALL == "import":
    print("Unable to find libamd_smi.so library")  # AMD's package does, on stdout
    raise KeyError("libamd_smi.so")


def amdsmi_init() -> None:
    _check("init")


def amdsmi_shut_down() -> None:
    pass


def amdsmi_get_processor_handles() -> list[int]:
    _check("handles")
    return list(range(int(os.environ.get("AMD_GPUS", "1"))))


def amdsmi_get_gpu_asic_info(handle: int) -> dict[str, Any]:
    _check("asic_info", handle)
    return {"market_name": "AMD Instinct MI300X", "asic_serial": f"0x00000000000ABCD{handle}"}


def amdsmi_get_gpu_memory_total(handle: int, kind: AmdSmiMemoryType) -> int:
    _check("memory_total", handle)
    return 192 << 30


def amdsmi_get_gpu_memory_usage(handle: int, kind: AmdSmiMemoryType) -> int:
    _check("memory_usage", handle)
    return 1 << 30


def amdsmi_get_gpu_driver_info(handle: int) -> dict[str, str]:
    _check("driver_info", handle)
    return {"driver_version": "6.12.12"}


def amdsmi_get_gpu_total_ecc_count(handle: int) -> dict[str, int]:
    _check("total_ecc_count", handle)
    return {"uncorrectable_count": 0}


def amdsmi_get_gpu_process_list(handle: int) -> list[dict[str, Any]]:
    _check("process_list", handle)
    return [{"pid": 77, "name": "python3", "memory_usage": {"vram_mem": 1 << 30}}]
