"""List the names that tulu uses in each supported release of vLLM: python -m tools.vllm_names.

It writes a file for each release to tests/engines/vllm_releases, where the suite holds our code
against them without a wheel at hand. A release's file comes from the .py files of its wheel, which
pip fetches without its dependencies; wheels that are here already may be given as arguments.
"""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from tulu_cli.machine import SUPPORTED

ROOT = Path(__file__).parent.parent
RELEASES = ROOT / "tests" / "engines" / "vllm_releases"
# Where keyword arguments of vLLM are put together that are not written in a call of it.
_MAKERS = re.compile(
    r"(engine|adapter|draft|server|public|shared|ray)_arguments|ray_args|_settings_of_vllm"
)
_OF_ENGINE = (
    "engine_arguments",
    "adapter_arguments",
    "draft_arguments",
    "ray_args",
    "_settings_of_vllm",
)
_FLAGS = re.compile(r"(node|other|hybrid)?_flags")
_ENGINE_ARGUMENTS = "vllm.engine.arg_utils.AsyncEngineArgs"
_STRUCTURES = "vllm.sampling_params.StructuredOutputsParams"
_VARIABLE = re.compile(r"VLLM_[A-Z0-9_]+")
_CONFIGS = (
    "structured_outputs_config",
    "compilation_config",
    "speculative_config",
    "pass_config",
)
_CLI = ("vllm.entrypoints.common.cli_args", "vllm.entrypoints.launchers.cli_args")

_ANYTHING = "*"  # what is known of a module, or of a value

Names = dict[str, Any]


@dataclass
class Use:
    """The names that our code uses of vLLM.

    A name is asked for at one of several places, the newest first: {places: what of it}. `options`
    are those of `vllm serve`, `configs` the fields of its config classes, by the engine's argument.
    """

    names: dict[tuple[str, ...], set[str]] = field(default_factory=dict)
    arguments: set[str] = field(default_factory=set)
    options: set[str] = field(default_factory=set)
    configs: dict[str, set[str]] = field(default_factory=dict)
    variables: set[str] = field(default_factory=set)


def use_of(files: Iterable[Path]) -> Use:
    """Return the names that these files use of vLLM, anywhere in them."""
    use = Use()
    for path in files:
        read_use(path.read_text(encoding="utf-8"), use, structures=path.name == "guidance.py")
    return use


def our_files() -> list[Path]:
    """Return the files of the program and of the suite, which uses vLLM too."""
    return [path for name in ("tulu_cli", "tests") for path in sorted((ROOT / name).rglob("*.py"))]


def read_use(source: str, use: Use, *, structures: bool = False) -> None:
    """Add the names that one file uses."""
    tree = ast.parse(source)
    places = dict(imported(tree))
    for asked in places.values():
        use.names.setdefault(asked, set())
    for node in ast.walk(tree):
        for name, wanted in members_in(node):
            if name in places:
                use.names[places[name]].add(wanted)
        if isinstance(node, ast.Constant) and _VARIABLE.fullmatch(str(node.value)):
            use.variables.add(str(node.value))
        elif isinstance(node, ast.FunctionDef):
            read_arguments(node, use)
            if structures and node.name == "arguments":
                words = {f"({name})" for name in keys(node)}
                use.names.setdefault((_STRUCTURES,), set()).update(words)


def members_in(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield names with what is used of each: `member`, `member(parameter)` or `(parameter)`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield node.value.id, node.attr
    elif isinstance(node, ast.Call):
        name, _, member = ast.unparse(node.func).partition(".")
        if name.isidentifier() and (not member or member.isidentifier()):
            yield from ((name, f"{member}({word.arg})") for word in node.keywords if word.arg)


def read_arguments(function: ast.FunctionDef, use: Use) -> None:
    """Add the keyword arguments and flags that a function assembles."""
    if _MAKERS.fullmatch(function.name):
        names = set(keys(function))
        for name, value in nested(function):
            inner = {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
            use.configs.setdefault(name, set()).update(inner)
            names -= inner
        if function.name in _OF_ENGINE:
            use.arguments |= names
        # The model comes first, without a name.
        use.options |= {"model_tag" if name == "model" else name for name in names}
    if _FLAGS.fullmatch(function.name):
        texts = (node.value for node in ast.walk(function) if isinstance(node, ast.Constant))
        flags = {
            text for text in texts if isinstance(text, str) and re.fullmatch("--[a-z-]+", text)
        }
        use.options |= {flag.removeprefix("--").replace("-", "_") for flag in flags}


def nested(tree: ast.AST) -> Iterator[tuple[str, ast.Dict]]:
    """Yield the dictionaries that are values in others, with their keys."""
    for node in ast.walk(tree):
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            pairs = [(node.targets[0].slice, node.value)]
        for key, value in pairs:
            if isinstance(key, ast.Constant) and isinstance(value, ast.Dict):
                yield str(key.value), value


def keys(tree: ast.AST) -> Iterator[str]:
    """Return the keys of dictionaries, in literals and in assignments."""
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            found = list(node.keys)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            found = [node.slice]
        yield from (str(key.value) for key in found if isinstance(key, ast.Constant))


def imported(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the names that a file imports from vLLM, with the places that each may come from.

    Where an import is tried, and another made when it fails, the name comes from either.
    """
    elsewhere: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                elsewhere |= dict(_from(handler.body))
    for name, place in _from(list(ast.walk(tree))):
        other = elsewhere.get(name, ())
        if place != other:
            yield name, (*place, *other)


def _from(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "vllm":
            for name in node.names:
                yield name.asname or name.name, (f"{node.module}.{name.name}",)


class Sources:
    """The .py files of a release: a wheel, or the folder that `vllm` is installed in."""

    def __init__(self, root: Path | zipfile.Path) -> None:
        self._root = root
        self._trees: dict[str, ast.Module | None] = {}

    def tree(self, module: str) -> ast.Module | None:
        """Return a module's syntax tree, or None if the release does not have the module."""
        if module not in self._trees:
            place = module.replace(".", "/")
            paths = (self._root / f"{place}.py", self._root / place / "__init__.py")
            found = next(
                (path.read_text(encoding="utf-8") for path in paths if path.is_file()), None
            )
            self._trees[module] = None if found is None else ast.parse(found)
        return self._trees[module]

    def find(self, name: str) -> tuple[str, ast.AST] | None:
        """Return the module and the statement that define a name such as `vllm.envs.VLLM_PORT`."""
        module, _, last = name.rpartition(".")
        tree = self.tree(module)
        for node in () if tree is None else at_top(tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == last:
                        return self.find(f"{self._source(module, node)}.{alias.name}")
            elif last in made_by(node):
                return module, node
        whole = self.tree(name)
        return None if whole is None else (name, whole)

    def _source(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return str(node.module)
        package = (self._root / module.replace(".", "/") / "__init__.py").is_file()
        parts = module.split(".")
        base = parts[: len(parts) - node.level + (1 if package else 0)]
        return ".".join([*base, *filter(None, [node.module])])


def at_top(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield the top-level statements of a module, also those in `if` and `try`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, (ast.If, ast.Try, ast.ExceptHandler)):
            yield from at_top(node)


def made_by(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def names_of(sources: Sources, use: Use) -> Names:
    """Return the names that we use and a release has, with the members of each."""
    names = {
        place: described(sources, place, wanted)
        for places, wanted in use.names.items()
        for place in places
    }
    options = fields_of(sources, _ENGINE_ARGUMENTS)
    for module in _CLI:
        options |= fields_of(sources, f"{module}.FrontendArgs")
        options |= flags_of(sources.tree(module))
    return {
        "names": {place: about for place, about in sorted(names.items()) if about is not None},
        "options": sorted(options),
        "configs": {name: sorted(fields_of_config(sources, name)) for name in _CONFIGS},
        "variables": sorted(variables_of(sources)),
    }


def described(sources: Sources, place: str, wanted: Iterable[str] = ()) -> list[str] | None:
    """Return the members of a name: every `(field)` or `(parameter)`, and the wanted others.

    None where there is no such name.
    """
    made = sources.find(place)
    if made is None:
        return None
    module, node = made
    if isinstance(node, ast.ClassDef):
        found = members(sources, module, node)
        return sorted({one for one in found if one.startswith("(")} | found.intersection(wanted))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return sorted(f"({name})" for name in parameters(node))
    return [_ANYTHING]


def members(sources: Sources, module: str, node: ast.ClassDef) -> set[str]:
    """Return a class's `field`, `method`, `method(parameter)` and its own `(parameter)`."""
    found: set[str] = set()
    for base in node.bases:
        above = sources.find(f"{module}.{ast.unparse(base)}")
        if above is not None and isinstance(above[1], ast.ClassDef):
            found |= members(sources, above[0], above[1])
    for part in node.body:
        found |= {name for name in made_by(part) if not name.startswith("_")}
        if isinstance(part, ast.AnnAssign):
            found |= {f"({name})" for name in made_by(part)}
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            method = "" if part.name == "__init__" else part.name
            if not method.startswith("_"):
                found |= {f"{method}({name})" for name in parameters(part)}
    return found


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of a function's parameters, and `**` if it takes any keyword."""
    given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    names = [one.arg for one in given if one.arg not in ("self", "cls")]
    return [*names, "**"] if node.args.kwarg else names


def fields_of(sources: Sources, place: str) -> set[str]:
    """Return the fields of a class of arguments."""
    about = described(sources, place) or ()
    return {one.strip("()") for one in about if one.startswith("(")}


def flags_of(tree: ast.Module | None) -> set[str]:
    """Return the options that a module adds to an argument parser."""
    nodes = () if tree is None else ast.walk(tree)
    words = [
        word.value
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument")
        for word in node.args
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    ]
    return {word.removeprefix("--").replace("-", "_") for word in words}


def fields_of_config(sources: Sources, argument: str) -> set[str]:
    """Return the fields of the config class for an argument such as `pass_config`."""
    name = "".join(part.title() for part in argument.split("_"))
    return fields_of(sources, f"vllm.config.compilation.{name}") | fields_of(
        sources, f"vllm.config.{name}"
    )


def variables_of(sources: Sources) -> set[str]:
    """Return the environment variables that vLLM reads."""
    for node in ast.walk(sources.tree("vllm.envs") or ast.Module([], [])):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "environment_variables":
            return {name for name in keys(node) if _VARIABLE.fullmatch(name)}
    return set()


def missing(use: Use, release: Names) -> list[str]:
    """Return the names that our code uses and the written list of a release does not have."""
    found = []
    for places, wanted in use.names.items():
        there = next((place for place in places if place in release["names"]), None)
        if there is None:
            found.append(" or ".join(places))
            continue
        has = set(release["names"][there])
        found += [
            f"{there}.{one}"
            for one in sorted(wanted - has)
            if _ANYTHING not in has and not (one.startswith("(") and "(**)" in has)
        ]
    arguments = set(release["names"].get(_ENGINE_ARGUMENTS, ()))
    found += [
        f"engine argument {one}" for one in sorted(use.arguments) if f"({one})" not in arguments
    ]
    found += [f"option {one}" for one in sorted(use.options - set(release["options"]))]
    for name, fields in use.configs.items():
        absent = sorted(fields - set(release["configs"].get(name, ())))
        found += [f"{name}.{one}" for one in absent]
    found += [f"variable {one}" for one in sorted(use.variables - set(release["variables"]))]
    return found


def supported_minors() -> list[str]:
    """Return the releases that pyproject.toml admits, such as "0.33"."""
    bounds = SpecifierSet(SUPPORTED["vllm"])
    return [minor for minor in (f"0.{number}" for number in range(1000)) if minor in bounds]


def fetched() -> Iterator[Path]:
    """Return the newest wheel of each supported release, from the user's cache or by pip."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(cache).expanduser() / "tulu-tools" / "vllm"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    pip += ["--platform", "manylinux_2_28_x86_64", "--dest", str(folder)]
    for minor in supported_minors():
        subprocess.run([*pip, f"vllm=={minor}.*"], check=True)
        yield max(folder.glob(f"vllm-{minor}.*.whl"), key=lambda path: path.stat().st_mtime)


def written(wheel: Path, use: Use) -> Path:
    """Write the list of a release from its wheel."""
    release = wheel.name.split("-")[1]
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = {"wheel": wheel.name, "sha256": digest, "release": release}
    about |= names_of(Sources(zipfile.Path(wheel)), use)
    target = RELEASES / f"{release.rpartition('.')[0]}.json"
    target.write_text(json.dumps(about, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def main(wheels: list[str]) -> int:
    """Write the lists, and report what is missing in each release."""
    use = use_of(our_files())
    RELEASES.mkdir(exist_ok=True)
    problems = 0
    for wheel in map(Path, wheels) if wheels else fetched():
        path = written(wheel, use)
        absent = missing(use, json.loads(path.read_text(encoding="utf-8")))
        problems += len(absent)
        print(f"{path.relative_to(ROOT)}: {', '.join(absent) or 'nothing is missing'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
