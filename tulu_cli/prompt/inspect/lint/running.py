"""Rules about whether a template runs, and always in the same way."""

from collections.abc import Iterator

from tulu_cli.errors import BadInput, TemplateExhausted
from tulu_cli.prompt.inspect.lint.finding import TURN, USER, Finding, LintTarget, Rule
from tulu_cli.prompt.render import quoted


def runs(target: LintTarget) -> Iterator[Finding]:
    """T001 to T004: syntax, sandbox, limits, and plain failure on the simplest conversations."""
    for messages, asked in (((USER,), True), (TURN, False)):
        try:
            target.writer.render(messages, asked=asked)
        except BadInput as error:
            yield explained(error)
            return


def explained(error: BadInput) -> Finding:
    """Return the finding for a template that fails."""
    from jinja2 import TemplateSyntaxError
    from jinja2.exceptions import SecurityError

    if isinstance(error, TemplateExhausted):
        return Finding("T003", "error", str(error), "Do not use this template.")
    cause: BaseException | None = error
    while isinstance(cause, BadInput):  # each layer says it in its own words
        cause = cause.__cause__
    if isinstance(cause, TemplateSyntaxError):
        return Finding("T001", "error", str(error), "Mend the Jinja syntax.")
    if isinstance(cause, SecurityError):
        what = f"The chat template reaches outside the sandbox: {quoted(str(cause))}"
        return Finding("T002", "error", what, "Do not use it: it is not a chat template.")
    return Finding("T004", "error", str(error), "Make it accept a user's turn and an answer.")


def is_steady(target: LintTarget) -> Iterator[Finding]:
    """T070: the same conversation must always give the same prompt."""
    from jinja2 import nodes

    from tulu_cli.prompt.environment import nodes_of, parse_template

    tree = parse_template(target.writer.source)
    every = list(nodes_of(tree)) if tree else []
    names = {node.name for node in every if isinstance(node, nodes.Name)}
    names |= {f"|{node.name}" for node in every if isinstance(node, nodes.Filter)}
    for name in sorted(names & {"strftime_now", "lipsum", "|random"}):
        yield Finding(
            "T070",
            "warning",
            f"The template uses {name}, so the same conversation gives another prompt another day.",
            "Pass a fixed value with --kwarg where the template takes one.",
        )


RUNNING: tuple[Rule, ...] = (runs,)
STEADY: tuple[Rule, ...] = (is_steady,)
