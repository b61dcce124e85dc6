"""Print the AMD GPUs that amdsmi finds, as one line of JSON: a script, for its own process.

The calls are those of amdsmi 7.0, whose memory is in bytes, and as vLLM and torch make them: GPUs
are counted in the order of their handles, and a UUID is "GPU-" and the serial of the chip.
"""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

UNKNOWN = "N/A"


def main() -> None:
    """Print what the driver reports, its failures included."""
    said: dict[str, Any] = {"version": None, "gpus": [], "broken": []}
    said |= {"failure": None, "absent": False}
    try:
        with redirect_stdout(StringIO()):  # amdsmi prints where it does not find its library
            import amdsmi
    except Exception:  # noqa: BLE001  any that its loading of libraries ends with
        said["absent"] = True
    else:
        read(amdsmi, said)
    print(json.dumps(said))  # noqa: T201  its only output


def read(amdsmi: Any, said: dict[str, Any]) -> None:
    """Add every GPU to `said`, and each that fails to its broken ones."""
    try:
        amdsmi.amdsmi_init()
        handles = amdsmi.amdsmi_get_processor_handles()
    except Exception as error:  # noqa: BLE001
        said["failure"] = words(error)
        return
    for index, handle in enumerate(handles):
        try:
            said["gpus"].append(gpu(amdsmi, index, handle))
        except Exception as error:  # noqa: BLE001
            said["broken"].append((index, words(error)))
    if handles:
        driver = told(lambda: amdsmi.amdsmi_get_gpu_driver_info(handles[0]), {})
        said["version"] = driver.get("driver_version")
    told(amdsmi.amdsmi_shut_down, None)


def gpu(amdsmi: Any, index: int, handle: Any) -> dict[str, Any]:
    """Return the fields of a `machine.Gpu`."""
    kind = amdsmi.AmdSmiMemoryType.VRAM
    chip = amdsmi.amdsmi_get_gpu_asic_info(handle)
    total = amdsmi.amdsmi_get_gpu_memory_total(handle, kind)
    programs = told(lambda: amdsmi.amdsmi_get_gpu_process_list(handle), [])
    errors = told(lambda: amdsmi.amdsmi_get_gpu_total_ecc_count(handle), {})
    name, serial = chip["market_name"], chip["asic_serial"].removeprefix("0x").lower()
    return {
        "index": index,
        "name": "AMD GPU" if name == UNKNOWN else name,
        "total_bytes": total,
        "free_bytes": total - amdsmi.amdsmi_get_gpu_memory_usage(handle, kind),
        "uuid": "" if serial == UNKNOWN.lower() else f"GPU-{serial}",
        "ecc_errors": errors.get("uncorrectable_count"),
        "programs": [
            (program["pid"], program["name"], program["memory_usage"]["vram_mem"])
            for program in programs
        ],
    }


def told(question: Callable[[], Any], otherwise: Any) -> Any:
    """Return the driver's answer, or `otherwise` if it has none."""
    try:
        return question()
    except Exception:  # noqa: BLE001
        return otherwise


def words(error: Exception) -> str:
    """Return the message of an error on one line: amdsmi's own take three."""
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
