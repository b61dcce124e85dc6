"""Read the settings of a run from everywhere they may be."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tulu_cli.settings.keys import PROJECT_FILE
from tulu_cli.settings.merge import (
    Setting,
    Settings,
    from_document,
    from_environment,
    from_flags,
    merge,
    profile_of,
    read_user_file,
)
from tulu_cli.settings.toml import Source


def read_settings(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
    project: Path | None = PROJECT_FILE,
) -> Settings:
    """Return the settings of a run: flags win, then environment, profile, project and user.

    `flags` may name a `profile`, and so may TULU_PROFILE. `project` None reads no project file.
    A prompt's name means the project's text only where the user has no prompt of that name. Raise
    UsageError for a wrong value, BadInput for a broken file.
    """
    from tulu_cli.settings.check import problems, read_project, refuse

    user = read_user_file(environ)
    refuse(user, problems(user.values))
    name = flags.get("profile") or environ.get("TULU_PROFILE")
    profile = profile_of(user, name) if name else {}
    parts = [(user.values, str(user.path)), (profile, f"{user.path} [profile.{name}]")]
    aliases = _named("alias", parts)
    cloned = read_project(project, aliases) if project else Source(PROJECT_FILE)
    project_part = (cloned.values, str(cloned.path))
    # A name of the user's own stands for a text that the user knows, whatever a project calls so.
    prompts = _named("prompts", [project_part, *parts])
    parts.insert(1, project_part)
    layers = [from_document(document, origin) for document, origin in reversed(parts)]
    return Settings(
        merge((from_flags(flags), from_environment(environ), *layers)),
        {name: alias.value for name, alias in aliases.items()},
        {name: prompt.value for name, prompt in prompts.items()},
        {f"alias.{name}": alias.origin for name, alias in aliases.items()}
        | {f"prompts.{name}": prompt.origin for name, prompt in prompts.items()},
    )


def _named(table: str, parts: Sequence[tuple[Mapping[str, Any], str]]) -> dict[str, Setting]:
    """Merge a table of names in several documents; the last document that has a name wins."""
    return {
        name: Setting(text, origin)
        for document, origin in parts
        for name, text in document.get(table, {}).items()
    }
