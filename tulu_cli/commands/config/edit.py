"""`tulu config edit`: open the settings file in an editor, and save it only if it is valid."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import user_path
from tulu_cli.disk import read_bytes
from tulu_cli.errors import BadInput, TuluError

if TYPE_CHECKING:
    from tulu_cli.streams import Streams

ENVIRONMENT = (("VISUAL, EDITOR", "The editor; vi if neither is set."),)
EXIT_CODES = {
    0: "Saved, or nothing was changed.",
    1: "The editor failed.",
    65: "The copy has a mistake; stderr names it and where the copy is kept.",
}


def edit(_debug: _options.Debug = False) -> None:
    """Open your settings file in $VISUAL, $EDITOR or vi.

    You edit a copy, which replaces the file only if it is valid.
    """
    from tulu_cli.streams import Streams

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    run(Streams.standard(), user_path(), editor)


def run(streams: "Streams", path: Path, editor: str) -> None:
    """Open a copy in the editor, and replace the file by it if it is correct."""
    import shutil
    import tempfile

    from tulu_cli.commands.config._template import template
    from tulu_cli.settings.edit import change

    before = read_bytes(path)
    begun = template().encode("utf-8") if before is None else before
    folder = Path(tempfile.mkdtemp(prefix="tulu-config-"))  # open to nobody else
    copy = folder / "config.toml"
    copy.write_bytes(begun)
    try:
        start(editor, copy)
    finally:
        changed = copy.read_bytes() != begun
        if not changed:
            shutil.rmtree(folder)
    if not changed:
        streams.say("tulu: nothing was changed.")
        return
    change(path, lambda real: merged(copy, real, before))
    shutil.rmtree(folder)
    streams.say(f"tulu: wrote {path}.")


def start(editor: str, copy: Path) -> None:
    """Run the editor to its end. Raise TuluError if it fails."""
    try:
        code = subprocess.call([*shlex.split(editor), str(copy)])
    except (OSError, ValueError) as error:
        raise TuluError(f"The editor {editor!r} cannot be started: set EDITOR.") from error
    if code:
        raise TuluError(f"The editor {editor!r} failed ({code}): nothing was changed.")


def merged(copy: Path, path: Path, before: bytes | None) -> str:
    """Return the copy's text. Raise BadInput for a mistake, TuluError if `path` has changed."""
    from tulu_cli.settings.check import problems, refuse
    from tulu_cli.settings.toml import read_toml

    try:
        source = read_toml(copy)
        refuse(source, problems(source.values))
    except BadInput as error:
        raise BadInput(
            f"{error} Your text is kept there, and the settings are as before."
        ) from error
    if read_bytes(path) != before:
        raise TuluError(f"{path} has changed in the meantime: your text is kept in {copy}.")
    return source.text
