"""What is wrong, or worth knowing, of a chat template and of conversations for it.

Each rule is one function that yields findings. Codes: T00x whether it runs, T01x and T02x begin
and end tokens, T03x generation prompt, T04x system message, T05x and T06x other roles and white
space, T07x determinism, T09x loss mask, T10x conversations.
"""

from tulu_cli.errors import TemplateExhausted
from tulu_cli.prompt.inspect.lint.contents import lint_conversation
from tulu_cli.prompt.inspect.lint.finding import Finding, LintTarget
from tulu_cli.prompt.inspect.lint.running import RUNNING, STEADY, explained
from tulu_cli.prompt.inspect.lint.tokens import TOKENS
from tulu_cli.prompt.inspect.lint.turns import TURNS
from tulu_cli.prompt.limits import BUDGET

__all__ = ["Finding", "LintTarget", "lint_conversation", "lint_template"]

_ORDER = ("error", "warning", "note")


def lint_template(target: LintTarget) -> list[Finding]:
    """Return all findings about a template, the worst first."""
    try:
        with BUDGET:
            return _findings(target)
    except TemplateExhausted as error:
        return [explained(error)]


def _findings(target: LintTarget) -> list[Finding]:
    broken = [finding for rule in RUNNING for finding in rule(target)]
    if broken:
        return broken
    found = [finding for rule in (*TOKENS, *TURNS, *STEADY) for finding in rule(target)]
    return sorted(found, key=lambda finding: (_ORDER.index(finding.severity), finding.code))
