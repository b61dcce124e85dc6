"""Run a chat template, with its failures as one sentence."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt import limits

if TYPE_CHECKING:
    from jinja2 import Template

CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "  # the text that transformers uses
_MOST_QUOTED = 300  # characters of a refusal


class Render(Protocol):
    """A template with its options: messages to text, with a generation prompt if `asked`."""

    def __call__(self, messages: Sequence[Message], *, asked: bool) -> str: ...


def render_template(source: str, variables: Mapping[str, Any], *, traces: bool = False) -> str:
    """Return the text; with `traces` one that has the traces of the variables.

    Raise BadInput if the template is broken or refuses; TemplateExhausted, which is one of those,
    if it takes too much.
    """
    with limits.BUDGET:
        try:
            return compiled(source, traces=traces).render(variables)
        except Exception as error:  # a template is a program: it can fail in any way
            raise BadInput(complaint(error)) from error


@lru_cache(maxsize=64)
def compiled(source: str, *, traces: bool = False) -> "Template":
    """Return the compiled template; raise jinja2's TemplateSyntaxError."""
    from tulu_cli.prompt.environment import compile_template, environment

    if not traces:
        return compile_template(source, environment())
    from tulu_cli.prompt.tracing_environment import tracing_environment

    return compile_template(source, tracing_environment())


@lru_cache(maxsize=64)
@limits.on_one_budget
def may_cut(source: str) -> bool:
    """Return True unless the template is known to give each text as a whole, or not at all."""
    from tulu_cli.prompt.environment import keeps_texts_whole

    return not keeps_texts_whole(source)


@lru_cache(maxsize=64)
@limits.on_one_budget
def reads_parts(source: str) -> bool:
    """Return True if the template reads a content as a list of parts."""
    from tulu_cli.prompt.environment import loops_over_content

    return loops_over_content(source)


def complaint(error: Exception) -> str:
    """Return a sentence on why a template did not give a text."""
    from jinja2 import TemplateError, TemplateSyntaxError

    if isinstance(error, TemplateSyntaxError):
        reason = quoted(error.message or "unknown")
        return f"The chat template has a syntax error in line {error.lineno}: {reason}"
    reason = quoted(str(error))
    if isinstance(error, TemplateError):
        return f"The chat template refuses this conversation: {reason}"
    return f"The chat template fails on this conversation: {type(error).__name__}: {reason}"


def quoted(text: str) -> str:
    """Return what a template says as the end of a sentence, on one line and not too long."""
    said = " ".join(text[: 4 * _MOST_QUOTED].split()) or "no reason given"
    if len(said) > _MOST_QUOTED or len(text) > 4 * _MOST_QUOTED:
        return f"{said[:_MOST_QUOTED].rstrip()}..."
    return said if said.endswith((".", "!", "?")) else f"{said}."


def render_messages(
    source: str, variables: Mapping[str, Any], *, continue_final: bool, traces: bool = False
) -> str:
    """Render; with `continue_final` the text ends where the last message's content ends."""
    if not continue_final:
        return render_template(source, variables, traces=traces)
    *before, last = variables["messages"]
    tagged, content = _tagged(last.get("content"))
    messages = [*before, {**last, "content": tagged}]
    text = render_template(source, {**variables, "messages": messages}, traces=traces)
    if content.strip() not in text or CONTINUE_TAG.strip() not in text:
        raise BadInput(
            "The chat template does not show the last message as it is, so it cannot be continued."
        )
    return cut_at_tag(text)


def _tagged(content: Any) -> tuple[Any, str]:
    """Return a content with the tag at its end, and the text before it, as transformers does."""
    if isinstance(content, str):
        return content + CONTINUE_TAG, content
    if not content:
        raise BadInput("The last message has no text, so it cannot be continued.")
    *before, last = content
    return [*before, {**last, "text": last["text"] + CONTINUE_TAG}], last["text"]


def cut_at_tag(text: str) -> str:
    """Return the text before the tag; without trailing space if the template stripped the tag's."""
    place = text.rindex(CONTINUE_TAG.strip())
    before = text[:place]
    return before if text.startswith(CONTINUE_TAG, place) else before.rstrip()
