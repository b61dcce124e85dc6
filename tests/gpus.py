"""Drivers for child processes: an NVML of our own in C, and an amdsmi of our own in Python."""

import subprocess
from pathlib import Path
from shutil import which

import pytest

SOURCE = Path(__file__).with_name("gpu_stub") / "nvml.c"
# What a test's own machine may hide GPUs with.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def build_nvml(folder: Path) -> Path:
    """The folder with a libnvidia-ml.so.1 in it, for LD_LIBRARY_PATH. Skips without a compiler."""
    compiler = which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc) to build the tests' own NVML with")
    library = folder / "libnvidia-ml.so.1"
    flags = ("-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run([compiler, *flags, "-o", library, SOURCE], check=True)
    return folder
