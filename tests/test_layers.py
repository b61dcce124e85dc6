"""Who may import whom: the table of design.md, and what no import may load."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tulu_cli

ROOT = Path(tulu_cli.__file__).parent

# A part of the program -> the parts that it may import, itself aside. "" is the package's own
# __init__, which holds the version. Change this together with design.md.
MAY_IMPORT = {
    "": set(),
    "core": set(),
    "errors": set(),
    "quantities": set(),
    "dependencies": set(),
    "streams": {"core", "errors"},
    "settings": {"core", "errors", "models"},
    "machine": {"core", "errors"},
    "amd_child": set(),
    "models": {"core", "errors"},
    "prompt": {"core", "errors", "models"},
    "plan": {"core", "errors", "models"},
    "sampling": {"core", "errors", "settings"},
    "structure": {"core", "errors"},
    "options": {"errors"},
    "parallel": {"errors"},
    "inputs": {"core", "errors", "streams", "prompt"},
    "engines": {"core", "errors", "prompt", "machine", "models", "plan", "server"},
    "planning": {"errors", "machine", "models", "plan"},
    "room": {"errors", "machine", "plan", "planning"},
    "foreign": {"core", "engines", "errors", "server", "settings"},
    "warm": {"", "core", "engines", "errors", "foreign", "machine", "models", "server", "settings"},
    "launch": {
        "core",
        "engines",
        "errors",
        "foreign",
        "machine",
        "models",
        "prompt",
        "room",
        "server",
        "settings",
        "warm",
    },
    "doctor": {"errors", "machine", "models"},
    "server": {"core", "errors", "machine", "models", "plan", "prompt", "settings"},
    "render": {"core", "streams"},
    "resident": {
        "core",
        "engines",
        "errors",
        "launch",
        "machine",
        "prompt",
        "render",
        "settings",
        "streams",
    },
    "chat": {"core", "errors", "streams", "prompt", "render", "sampling", "settings"},
    "batch": {"core", "errors", "streams", "prompt"},
    "arguments": set(),
    "candidates": {"batch", "chat", "engines", "errors", "models", "plan", "prompt", "settings"},
    "main": {"", "arguments", "commands", "errors", "streams", "settings"},
    "__main__": {"candidates", "main"},
}
for part in set(MAY_IMPORT) - {"", "core", "errors", "quantities", "dependencies"}:
    MAY_IMPORT[part] |= {"quantities", "dependencies"}
MAY_IMPORT["commands"] = set(MAY_IMPORT) - {"main", "__main__"}

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
}


# These load a heavy library when they are imported, and so are only imported inside functions.
LAZY = {
    "tulu_cli.chat.prompt_line": {"prompt_toolkit"},
    "tulu_cli.doctor.torch_child": {"torch"},
    "tulu_cli.engines.decoding": {"torch", "transformers"},
    "tulu_cli.models.hub_errors": {"huggingface_hub"},
    "tulu_cli.prompt.environment": {"jinja2"},
    "tulu_cli.prompt.opaque": {"jinja2"},
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
    """`from tulu_cli import engines` imports a module, `from tulu_cli.core import Text` a value."""
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
    """The imports of a module that its layer does not allow."""
    part = part_of(module)
    ours = [name for name in imported(ast.parse(source)) if name.partition(".")[0] == ROOT.name]
    return [
        name
        for name in ours
        if (part_of(name) != part and part_of(name) not in MAY_IMPORT[part])
        or (part == "commands" and is_command(name, module))
        or (part == "engines" and name in ENGINES and name != module)
    ]


def is_command(name: str, module: str) -> bool:
    """Whether `name` is in commands/ and no shared part, `_name`, of the group of `module`.

    A group's package is in the group too.
    """
    shared = (f"{module.rpartition('.')[0]}._", f"{module}._")
    return name.startswith("tulu_cli.commands.") and not name.startswith(shared)


def heavy_at_once(source: str) -> set[str]:
    """The heavy libraries that importing a module would load."""
    statements = at_once(ast.parse(source))
    names = {name.partition(".")[0] for node in statements for name in imported(node)}
    return names & HEAVY


def lazy(module: str) -> str | None:
    """The row of LAZY that a module belongs to."""
    return next((name for name in LAZY if f"{module}.".startswith(f"{name}.")), None)


def is_engine(path: Path) -> bool:
    """A module that can be asked why it cannot run, and that loads: not a part they share."""
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return path.name != "__init__.py" and {"why_not", "load"} <= functions


SOURCES = {module_name(path): path.read_text() for path in sorted(ROOT.rglob("*.py"))}
ENGINES = {module_name(path) for path in ROOT.glob("engines/*.py") if is_engine(path)}


def loads(module: str) -> set[str]:
    """The heavy libraries that a module may load when it is imported."""
    return LAZY.get(lazy(module) or "", set())


def test_modules_import_only_what_their_layers_may() -> None:
    found = {name: trespasses(name, source) for name, source in SOURCES.items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_importing_a_module_loads_nothing_heavy() -> None:
    found = {name: heavy_at_once(source) - loads(name) for name, source in SOURCES.items()}
    assert {name: heavy for name, heavy in found.items() if heavy} == {}


def test_what_loads_a_heavy_library_is_imported_inside_functions() -> None:
    found = [
        f"{module} imports {name}"
        for module, source in SOURCES.items()
        for statement in at_once(ast.parse(source))
        for name in imported(statement)
        if not loads(name) <= loads(module)
    ]
    assert found == []


def test_the_verbs_of_a_group_may_share_a_part() -> None:
    source = "from tulu_cli.commands.models._table import rows"
    assert trespasses("tulu_cli.commands.models.pull", source) == []
    assert trespasses("tulu_cli.commands.models", source) == []


def test_the_engines_are_known() -> None:
    assert {"tulu_cli.engines.fake", "tulu_cli.engines.vllm"} <= ENGINES
    assert "tulu_cli.engines.base" not in ENGINES


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tulu_cli.core", "from tulu_cli.errors import TuluError"),
        ("tulu_cli.streams", "def f():\n    from tulu_cli import settings"),
        ("tulu_cli.render.plain", "import tulu_cli.errors"),
        ("tulu_cli.commands.chat", "from tulu_cli.commands.complete import run"),
        ("tulu_cli.commands.chat", "from tulu_cli.commands import complete"),
        ("tulu_cli.commands.chat", "from tulu_cli.main import main"),
        ("tulu_cli.commands.models.pull", "from tulu_cli.commands.models import show"),
        ("tulu_cli.commands.models.pull", "from tulu_cli.commands.history._db import rows"),
        ("tulu_cli.engines.vllm", "from tulu_cli.engines.fake import script"),
        ("tulu_cli.engines.assemble", "from tulu_cli.engines import transformers"),
        ("tulu_cli.main", "from tulu_cli.launch import prepare"),
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
