"""Chat templates of other families, as published: read from packages, never copied here.

TRL ships the templates of the models that it trains (Apache-2.0), some of them also with
`{% generation %}`; vLLM ships a few for models that come without one.
"""

import zipfile
from importlib.util import find_spec
from pathlib import Path

from .wheels import find_wheel

WHEEL = "trl-1.16.0-py3-none-any.whl"
SHA256 = "c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396"
FOLDER = "trl/chat_templates/"
# A name with `-training` has generation blocks.
TRL = (
    *("cohere", "cohere2", "deepseek_r1_distill", "deepseekv3", "gemma", "gemma3", "gemma4"),
    *("glm4moe", "gptoss", "idefics3", "lfm2", "llama3", "llama3_1", "llama3_2", "llava_next"),
    *("muse_glimmer", "nemotron_3_nano", "phi3", "phi3_5", "qwen2_5", "qwen2_5_vl", "qwen3"),
    *("qwen3_5_think", "smolvlm"),
)
MARKING = ("cohere", "gemma", "gemma3", "llama3", "phi3", "qwen2_5", "qwen3")
VLLM = ("basic", "blip2", "chatml", "deepseek_ocr", "deepseek_vl2", "kimi_audio", "minicpmv45")
NAMES = (*TRL, *(f"{name}_training" for name in MARKING), *(f"vllm_{name}" for name in VLLM))


def published_templates(cache: Path) -> dict[str, str]:
    """Name -> Jinja source of each of NAMES."""
    wheel = zipfile.ZipFile(find_wheel(WHEEL, "trl==1.16.0", SHA256, cache))
    sources = {
        name.removeprefix(FOLDER).removesuffix(".jinja"): wheel.read(name).decode()
        for name in wheel.namelist()
        if name.startswith(FOLDER) and name.endswith(".jinja")
    }
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "transformers_utils" / "chat_templates"
    sources |= {
        f"vllm_{name}": (folder / f"template_{name}.jinja").read_text(encoding="utf-8")
        for name in VLLM
    }
    return {name: sources[name] for name in NAMES}
