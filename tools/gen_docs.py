"""Write completions/ and man/, or name the stale files.

python -m tools.gen_docs            write them
python -m tools.gen_docs --check    exit 1 if a file differs from what would be written
"""

import sys
from pathlib import Path

from tools import bash, fish, man, zsh
from tools.tree import Command, read_tree

ROOT = Path(__file__).parent.parent
_TEMPLATES = Path(__file__).parent / "shells"


def documents(root: Command) -> dict[str, str]:
    """Return the text of every generated file, by its path in the project."""
    manual = {f"man/{name}": text for name, text in man.pages(root).items()}
    return manual | {
        "completions/tulu.bash": _filled("tulu.bash", TABLE=bash.table(root)),
        "completions/_tulu": _filled("_tulu", FUNCTIONS=zsh.functions(root)),
        "completions/tulu.fish": _filled(
            "tulu.fish",
            COMMANDS=fish.commands(root),
            VALUED=fish.valued(root),
            COMPLETIONS=fish.completions(root),
        ),
    }


def stale(wanted: dict[str, str], folder: Path) -> list[str]:
    """Return the paths that are missing, differ, or are no longer generated."""
    found = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for place in ("completions", "man")
        for path in (folder / place).glob("*")
        if path.is_file()
    }
    return sorted(path for path in found | wanted if found.get(path) != wanted.get(path))


def write(wanted: dict[str, str], folder: Path) -> None:
    """Write the stale files, and delete those that are no longer generated."""
    for path in stale(wanted, folder):
        target = folder / path
        if path not in wanted:
            target.unlink()
            continue
        target.parent.mkdir(exist_ok=True)
        target.write_text(wanted[path], encoding="utf-8")


def main(arguments: list[str], folder: Path = ROOT) -> int:
    """Returns the exit code."""
    wanted = documents(read_tree())
    paths = stale(wanted, folder)
    if arguments == ["--check"]:
        for path in paths:
            print(f"{path} is stale: run python -m tools.gen_docs")
        return 1 if paths else 0
    write(wanted, folder)
    print("\n".join(f"wrote {path}" for path in paths) or "Nothing has changed.")
    return 0


def _filled(name: str, **parts: str) -> str:
    text = (_TEMPLATES / name).read_text(encoding="utf-8")
    for mark, part in parts.items():
        text = text.replace(f"@{mark}@", part)
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
