"""The rules by their names: `--rule` names one, or else the row's `dataset` does."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from tulu_cli.errors import BadInput, UsageError
from tulu_cli.text import told
from tulu_cli.verify import gsm8k, ifeval, math, own
from tulu_cli.verify.clocked import TookTooLong, clocked
from tulu_cli.verify.compare import math_verify
from tulu_cli.verify.verdict import Era, Verdict

AUTO = "auto"
# The names that a row's dataset may have too.
_ERAS: dict[str, Callable[..., Verdict]] = {
    "gsm8k": gsm8k.verify,
    "math": math.verify,
    "strict_math": math.verify_strict,
    "ifeval": ifeval.verify,
}
_DATASETS = {**{name: name for name in _ERAS}, "ifeval_old": "ifeval"}
_MADE: dict[str, Callable[[str], own.Verify]] = {
    "regex": own.regex,
    "json-schema": own.json_schema,
    "python": own.python,
}
NAMES = "gsm8k, math, strict_math, ifeval, choice, regex:…, json-schema:FILE and python:FILE"
_OLD = "-2024"
# Of a text that is longer than this, and than any honest answer, a pattern may take minutes.
_LONG = 50_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is applied: `name` is with its era, where that is not now."""

    name: str
    check: Callable[[str, object], Verdict]

    def verify(self, text: str, label: object) -> Verdict:
        """Return the verdict on a text. Raise BadInput for a label that is none."""
        return self.check(text, label)


def named(name: str, era: Era = "now") -> Rule:
    """Return the rule of a name such as math, math-2024 or regex:…; `era` is for the former.

    Raise UsageError for an unknown one, and BadInput for a file that does not hold what it should.
    """
    kind, colon, argument = name.partition(":")
    if colon and kind in _MADE:
        return Rule(name, _MADE[kind](argument))
    if name == "choice":
        return Rule(name, own.choice)
    if name == "math-verify":
        return Rule(name, math_verify)
    plain = name.removesuffix(_OLD)
    if plain not in _ERAS:
        raise UsageError(f"There is no rule {told(name)}: there are {NAMES}.")
    if era == "2024" or name.endswith(_OLD):
        return Rule(plain + _OLD, partial(_ERAS[plain], era="2024"))
    return Rule(plain, _ERAS[plain])


@dataclass(frozen=True)
class Chooser:
    """Chooses the rule for a row: the one that was asked for, or that of the row's dataset."""

    asked: str = AUTO
    era: Era = "now"

    def rule(self, dataset: object) -> Rule:
        """Return the rule. Raise BadInput for a dataset that has none."""
        if self.asked != AUTO:
            return _named(self.asked, self.era)
        if isinstance(dataset, list) and len(dataset) == 1:
            dataset = dataset[0]
        if dataset is None:
            raise BadInput("the row has no dataset that names its rule: --rule does.")
        name = _DATASETS.get(dataset.lower()) if isinstance(dataset, str) else None
        if name is None:
            known = ", ".join(_ERAS)
            raise BadInput(f"there is no rule for the dataset {told(dataset)}, only for {known}.")
        return _named(name, self.era)

    def other(self, rule: Rule, against: str) -> Rule:
        """Return the rule that `--against` compares with: of another era, or another one.

        Raise UsageError if the rule is the same, or has no eras.
        """
        plain = rule.name.removesuffix(_OLD)
        if against not in ("now", "2024"):
            other = _named(against, self.era)
        elif plain not in _ERAS:
            raise UsageError(f"--against {against}: the rule {rule.name} has no eras.")
        else:
            other = _named(plain, "2024" if against == "2024" else "now")
        if other.name == rule.name:
            raise UsageError(f"--against compares the rule {rule.name} with itself.")
        return other


_named = cache(named)


def verify(rule: Rule, text: str, label: object) -> Verdict:
    """Return a rule's verdict on a text of any length, within some seconds. Raise BadInput."""
    if len(text) <= _LONG or rule.name == "math-verify" or ":" in rule.name:
        return rule.verify(text, label)  # its patterns run under a clock already
    try:
        return Verdict(*clocked("rule", rule.name).ask(text, label))
    except TookTooLong as error:
        raise BadInput(f"to verify its {len(text):,} characters takes too long.") from error
