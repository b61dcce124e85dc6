"""What the command line of `tulu plan` asks for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tulu_cli.settings import Settings


@dataclass(frozen=True)
class PlanOptions:
    """What the command line asks for, understood."""

    models: tuple[str, ...]
    settings: "Settings"
    gpu: str | None = None
    nodes: int = 1
    engine: Literal["vllm", "transformers"] = "vllm"
    quantization: str | None = None
    concurrency: int = 1
    kv_cache_dtype: str = "auto"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int = 16
    eager: bool = False
    vllm_version: str | None = None
    batch: int = 1
    beams: int = 1
    static_cache: bool = False
    find: str | None = None
    explain: bool = False
    plot: str | None = None
    json_output: bool = False
    offline: bool = False

    def of_one_gpu(self) -> str | None:
        """An option that is asked for and has no meaning for a whole catalogue of GPUs."""
        asked = {
            "--compare": len(self.models) > 1,
            "--find": self.find,
            "--explain": self.explain,
            "--plot": self.plot,
        }
        return next((flag for flag, value in asked.items() if value), None)
