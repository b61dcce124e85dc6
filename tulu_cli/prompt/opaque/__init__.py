"""Whether a chat template only ever copies the content of messages, and never looks at it.

Then the prompt of a conversation follows from its roles alone: the template is run once for each
order of roles, and filled with the contents. Import this inside functions: it loads jinja2.
"""

from functools import lru_cache

from jinja2 import TemplateSyntaxError

from tulu_cli.prompt.environment import environment
from tulu_cli.prompt.opaque.expressions import EXPRESSIONS
from tulu_cli.prompt.opaque.reader import Kind, Looked, Reader
from tulu_cli.prompt.opaque.statements import STATEMENTS


@lru_cache(maxsize=64)
def copies_content(source: str) -> bool:
    """True where the source is known to copy contents, whole or without the space around them."""
    try:
        tree = environment().parse(source)
        reader = Reader(STATEMENTS, EXPRESSIONS)
        seen: dict[str, Kind] | None = None
        while seen != reader.names:  # an assignment may stand behind what it reaches, in a loop
            seen = dict(reader.names)
            reader.statements(tree.body)
    except (Looked, TemplateSyntaxError, RecursionError):
        return False
    return True
