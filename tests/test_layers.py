"""Who may import whom: the table of design.md, and what no import may load."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tulu_cli

ROOT = Path(tulu_cli.__file__).parent

# The ground: each may import those before it. "" is the package's own __init__, with the version.
GROUND = (
    "",
    "errors",
    "core",
    "text",
    "statistics",
    "streams",
    "amd_child",
    "processes",
    "machine",
    "disk",
    "parallel",
)

# The floors of design.md, lowest first: a folder -> the folders that it may import, beside itself
# and the ground. Change this together with design.md.
MAY_IMPORT = {
    "models": set(),
    "settings": {"models"},
    "prompt": {"models"},
    "render": set(),
    "plan": {"models", "render"},
    "protocol": {"settings"},
    "warm": {"models", "settings"},
    "engines": {"prompt", "models", "protocol", "warm"},
}
BELOW = set(MAY_IMPORT)
MAY_IMPORT |= {"loading": BELOW, "request": BELOW | {"loading"}}
BELOW = set(MAY_IMPORT)
MAY_IMPORT |= dict.fromkeys(("serving", "chat", "batch", "verify", "doctor"), BELOW)
MAY_IMPORT["comparison"] = BELOW | {"batch"}
MAY_IMPORT["evaluation"] = BELOW | {"batch", "verify"}
MAY_IMPORT["commands"] = set(MAY_IMPORT)
MAY_IMPORT["cli"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = {"cli"}

HEAVY = {
    "torch",
    "transformers",
    "vllm",
    "prompt_toolkit",
    "rich",
    "markdown_it",
    "pygments",
    "wcwidth",
    "httpx",
    "jsonschema",
    "referencing",
    "jinja2",
    "tokenizers",
    "huggingface_hub",
    "platformdirs",
    "amdsmi",
    "pynvml",
    "tomli",
    "tomlkit",
    "pydantic",
    "numpy",
    "llguidance",
    "safetensors",
    "gguf",
    "accelerate",
    "starlette",
    "uvicorn",
    "uvloop",
    "sympy",
    "nltk",
    "punkt",
    "langdetect",
    "math_verify",
    "lm_eval",
    "pyarrow",
    "yaml",
    "ray",
}


# These load a heavy library when they are imported, and so are only imported inside functions.
LAZY = {
    "tulu_cli.chat.line": {"prompt_toolkit"},
    "tulu_cli.doctor.torch_child": {"torch"},
    "tulu_cli.engines.transformers": {"torch", "transformers"},
    "tulu_cli.models.hub_errors": {"huggingface_hub"},
    "tulu_cli.prompt.environment": {"jinja2"},
    "tulu_cli.prompt.tracing_environment": {"jinja2"},
}


def part_of(module: str) -> str:
    """`tulu_cli.engines.base` belongs to `engines`."""
    return module.removeprefix(ROOT.name).removeprefix(".").partition(".")[0]


def module_name(path: Path) -> str:
    return ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a piece of source imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be checked"
            yield from (from_names(str(node.module), name.name) for name in node.names)


def from_names(module: str, name: str) -> str:
    """`from tulu_cli.engines import base` imports a module; a value is not a file."""
    inner = ROOT.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if inner.is_dir() or inner.with_suffix(".py").exists() else module


def at_once(tree: ast.AST) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported, those for the type checker aside."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        yield from at_once(node)


def trespasses(module: str, source: str) -> list[str]:
    """The imports of a module that its floor does not allow."""
    ours = [name for name in imported(ast.parse(source)) if name.partition(".")[0] == ROOT.name]
    return [name for name in ours if not may_import(module, name)]


def may_import(module: str, name: str) -> bool:
    """Whether the module may import the name."""
    part, other = part_of(module), part_of(name)
    if part in GROUND:
        return other in GROUND[: GROUND.index(part) + 1]
    if other != part:
        return other in GROUND or other in MAY_IMPORT[part]
    if part == "commands":
        return not is_verb(name, module)
    return part != "engines" or engine_of(name) in ("", engine_of(module))


def is_verb(name: str, module: str) -> bool:
    """Whether `name` is another verb and not a part that the verbs of its group share, `_name`."""
    shared = (f"{module.rpartition('.')[0]}._", f"{module}._", "tulu_cli.commands._")
    return name.startswith("tulu_cli.commands.") and not name.startswith(shared)


def engine_of(module: str) -> str:
    """The engine that a module of engines/ belongs to, empty for what they share."""
    return next((name for name in ENGINES if f"{module}.".startswith(f"{name}.")), "")


def heavy_at_once(source: str) -> set[str]:
    """The heavy libraries that importing a module would load."""
    statements = at_once(ast.parse(source))
    names = {name.partition(".")[0] for node in statements for name in imported(node)}
    return names & HEAVY


SOURCES = {module_name(path): path.read_text() for path in sorted(ROOT.rglob("*.py"))}
# An engine, a module or a folder, can be asked why it cannot run.
ENGINES = {
    ".".join(name.split(".")[:3])
    for name, source in SOURCES.items()
    if name.startswith("tulu_cli.engines.") and re.search(r"\ndef why_not\(_?machine", source)
}


def loaded_with(module: str) -> set[str]:
    """A module of ours with those that importing it imports at once, and those that they do."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in SOURCES and name not in found:
            found.add(name)
            waiting += imported_at_once(name)
            waiting.append(name.rpartition(".")[0])
    return found


@cache
def imported_at_once(module: str) -> tuple[str, ...]:
    """What importing a module of ours imports by itself."""
    return tuple(name for node in at_once(ast.parse(SOURCES[module])) for name in imported(node))


def may_load(module: str) -> set[str]:
    """The heavy libraries that a module may load when it is imported."""
    return next((may for row, may in LAZY.items() if f"{module}.".startswith(f"{row}.")), set())


def test_modules_import_only_what_their_floors_may() -> None:
    found = {name: trespasses(name, source) for name, source in SOURCES.items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    heavy = {name: heavy_at_once(source) for name, source in SOURCES.items()}
    loads = {name: set().union(*(heavy[part] for part in loaded_with(name))) for name in SOURCES}
    assert {name: found for name, found in loads.items() if found - may_load(name)} == {}


def test_no_module_imports_itself_in_a_circle() -> None:
    first = {
        name: {inner for node in ast.walk(ast.parse(source)) for inner in imported_by(node)}
        & set(SOURCES)
        for name, source in SOURCES.items()
    }
    assert [name for name in SOURCES if name in reached(first, name)] == []


def imported_by(node: ast.AST) -> Iterator[str]:
    """What one statement imports, the package of a module aside."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from imported(node)


def reached(first: dict[str, set[str]], module: str) -> set[str]:
    """Every module that is imported on some way from this one."""
    found: set[str] = set()
    waiting = list(first[module])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += first[name]
    return found


def test_the_verbs_of_a_group_may_share_a_part() -> None:
    source = "from tulu_cli.commands.models._table import rows"
    assert trespasses("tulu_cli.commands.models.pull", source) == []
    assert trespasses("tulu_cli.commands.models", source) == []


def test_the_engines_are_known() -> None:
    names = ("fake", "remote", "transformers", "vllm")
    assert {f"tulu_cli.engines.{name}" for name in names} <= ENGINES
    assert engine_of("tulu_cli.engines.vllm.settings") == "tulu_cli.engines.vllm"
    assert engine_of("tulu_cli.engines.base") == ""


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tulu_cli.errors", "from tulu_cli.core import Text"),
        ("tulu_cli.streams", "def f():\n    from tulu_cli import settings"),
        ("tulu_cli.render.collector", "import tulu_cli.models.family"),
        ("tulu_cli.commands.chat", "from tulu_cli.commands.complete import run"),
        ("tulu_cli.commands.chat", "from tulu_cli.commands import complete"),
        ("tulu_cli.commands.chat", "from tulu_cli.cli.main import main"),
        ("tulu_cli.commands.models.pull", "from tulu_cli.commands.models import show"),
        ("tulu_cli.commands.models.pull", "from tulu_cli.commands.history._db import rows"),
        ("tulu_cli.engines.vllm", "from tulu_cli.engines.fake import script"),
        ("tulu_cli.engines.assemble", "from tulu_cli.engines import transformers"),
        ("tulu_cli.warm.finder", "from tulu_cli.loading.prepare import prepare"),
    ],
)
def test_a_trespass_is_found(module: str, source: str) -> None:
    assert len(trespasses(module, source)) == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.cuda", {"torch"}),
        ("try:\n    from rich.console import Console\nexcept ImportError: pass", {"rich"}),
        ("class A:\n    import tomli", {"tomli"}),
        ("if TYPE_CHECKING:\n    import torch", set()),
        ("def f():\n    import torch", set()),
    ],
)
def test_a_heavy_import_is_found(source: str, expected: set[str]) -> None:
    assert heavy_at_once(source) == expected
