"""Running a chat template, with its failures as one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.limits import SECONDS, bounded

CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "  # the text that transformers uses
# A variable that no template can name: the two characters to put around generation blocks.
MARKS = "tulu generation marks"


class Render(Protocol):
    """A template with its options: messages to text, with a generation prompt if `asked`."""

    def __call__(self, messages: Sequence[Message], *, asked: bool) -> str: ...


def render_template(source: str, variables: Mapping[str, Any]) -> str:
    """The text; raises BadInput where the template is broken, refuses, or takes too much."""
    from jinja2 import TemplateError, TemplateSyntaxError

    from tulu_cli.prompt.environment import compile_template

    try:
        with bounded(SECONDS):
            return compile_template(source).render(variables)
    except BadInput:
        raise
    except TemplateSyntaxError as error:
        message = (error.message or "unknown").rstrip(".")
        raise BadInput(
            f"The chat template has a syntax error in line {error.lineno}: {message}."
        ) from error
    except TemplateError as error:
        raise BadInput(f"The chat template refuses this conversation: {one_line(error)}") from error
    except Exception as error:  # a template is a program: it can fail in any way
        raise BadInput(
            f"The chat template fails on this conversation: {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error


def one_line(error: Exception) -> str:
    """The error's message as one sentence."""
    return " ".join(str(error).split()).rstrip(".") + "."


def render_messages(source: str, variables: Mapping[str, Any], continue_final: bool) -> str:
    """Render; with `continue_final` the text ends where the last message's content ends."""
    if not continue_final:
        return render_template(source, variables)
    *before, last = variables["messages"]
    tagged = {**last, "content": last["content"] + CONTINUE_TAG}
    text = render_template(source, {**variables, "messages": [*before, tagged]})
    if last["content"].strip() not in text or CONTINUE_TAG.strip() not in text:
        raise BadInput(
            "The chat template does not show the last message as it is, so it cannot be continued."
        )
    return cut_at_tag(text)


def cut_at_tag(text: str) -> str:
    """The text before the tag; without trailing space if the template stripped the tag's own."""
    place = text.rindex(CONTINUE_TAG.strip())
    before = text[:place]
    return before if text.startswith(CONTINUE_TAG, place) else before.rstrip()
