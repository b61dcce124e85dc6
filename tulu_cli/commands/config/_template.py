"""The initial file of settings: every setting, in a comment."""

from typing import TYPE_CHECKING

from tulu_cli.commands import _options

if TYPE_CHECKING:
    from tulu_cli.settings import Key

_HEAD = """\
# The settings of tulu. Flags and TULU_* variables win over this file; `tulu config show --origin`
# says where each value comes from, and `tulu config check` whether this file is sound.
"""
_TAIL = """
[alias]
# Names for models: -m ours
# ours = "/models/ours"

[prompts]
# Names for system prompts: --system brief
# brief = "Answer in one sentence."

# Settings for --profile work or TULU_PROFILE=work, which win over those above.
# [profile.work]
# model = "70b"
# [profile.work.sampling]
# temperature = 0.2
"""


def template() -> str:
    """Return the text of the file: every setting with its help and an example, in comments."""
    from tulu_cli.settings import KEYS

    parts = [_HEAD]
    table = ""
    for key in KEYS:
        if key.table != table:
            parts.append(f"\n[{key.table}]\n")
            table = key.table
        parts += [f"# {line}\n" for line in help_of(key)]
        parts.append(f"# {key.name} = {example(key)}\n")
    return "".join((*parts, _TAIL))


def help_of(key: "Key") -> list[str]:
    """Return the help of the option of that name, wrapped for a comment."""
    from textwrap import wrap

    option = getattr(_options, key.name.title().replace("_", ""), None)
    help_text = option.__metadata__[0].help if option else ""
    return wrap(help_text, 96)


def example(key: "Key") -> str:
    """Return a value that the setting takes, in TOML's notation."""
    import json

    named = key.wanted.replace(" or ", ", ").split(", ")
    texts = ["http://host:8000"] if key.name == "server" else ["./adapter"]
    values = ("", 1, 0.5, texts) if key.kind is not str else (*named, "")
    return next(json.dumps(value) for value in values if key.problem(value) is None)
