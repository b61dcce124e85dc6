"""What many verdicts say together: pass@k, the rewards, and what they say for training."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tulu_cli.text import plural
from tulu_cli.verify.records import Graded, Tally


def pass_at(k: int, n: int, correct: int) -> float:
    """Return the unbiased estimate of pass@k from n answers, by Chen et al. (2021).

    It is the chance that k of the answers, drawn without putting back, hold a correct one.
    """
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


_NOISE = 1e-12  # of rounding, relative to the squares


@dataclass
class Moments:
    """The sums that means, spreads and a correlation are made of, in constant memory."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Count a pair."""
        self.n += 1
        self.x += x
        self.y += y
        self.xx += x * x
        self.yy += y * y
        self.xy += x * y

    def mean(self) -> float:
        """Return the mean of x."""
        return self.x / self.n

    def spread(self) -> float:
        """Return the standard deviation of x in the sample, 0 of one."""
        return math.sqrt(self._variance(self.x, self.xx)) if self.n > 1 else 0.0

    def correlation(self) -> float | None:
        """Return Pearson's correlation, None where x or y does not vary."""
        if self.n < 2:
            return None
        of_x, of_y = self._variance(self.x, self.xx), self._variance(self.y, self.yy)
        if min(of_x, of_y) <= 0:
            return None
        covariance = (self.xy - self.x * self.y / self.n) / (self.n - 1)
        return max(-1.0, min(1.0, covariance / math.sqrt(of_x * of_y)))

    def _variance(self, total: float, squares: float) -> float:
        around = squares - total * total / self.n
        return around / (self.n - 1) if around > _NOISE * squares else 0.0


@dataclass
class Group:
    """The rows of one rule. `constant` are those whose answers all have one reward."""

    rows: int = 0
    answers: int = 0
    verified: int = 0
    cut: int = 0
    several: int = 0
    constant: int = 0
    rewards: Moments = field(default_factory=Moments)  # of rewards and lengths
    verified_lengths: Moments = field(default_factory=Moments)
    other_lengths: Moments = field(default_factory=Moments)
    passes: dict[int, Moments] = field(default_factory=dict)

    def add(self, answers: tuple[Graded, ...]) -> None:
        """Count a row."""
        self.rows += 1
        self.answers += len(answers)
        correct = sum(one.verified for one in answers)
        self.verified += correct
        self.several += len(answers) > 1
        self.constant += len(answers) > 1 and len({one.reward for one in answers}) == 1
        for one in answers:
            self.cut += one.is_cut
            self.rewards.add(one.reward, one.length)
            lengths = self.verified_lengths if one.verified else self.other_lengths
            lengths.add(one.length, 0)
        for k in _ks(len(answers)):
            estimate = pass_at(k, len(answers), correct)
            self.passes.setdefault(k, Moments()).add(estimate, 0)

    def values(self) -> dict[str, Any]:
        """Return the group's figures for JSON; those of no row are null."""
        figures: dict[str, Any] = {
            "rows": self.rows,
            "answers": self.answers,
            "verified": self.verified,
            "pass": {str(k): _rounded(of_k.mean()) for k, of_k in sorted(self.passes.items())},
            "pass_rows": {str(k): of_k.n for k, of_k in sorted(self.passes.items())},
            "reward_mean": _rounded(self.rewards.mean()) if self.answers else None,
            "reward_spread": _rounded(self.rewards.spread()) if self.answers else None,
            "cut": self.cut,
            "rows_of_several": self.several,
            "rows_without_variance": self.constant,
            "length_reward_correlation": _rounded(self.rewards.correlation()),
        }
        for name, lengths in (
            ("length_verified", self.verified_lengths),
            ("length_not_verified", self.other_lengths),
        ):
            figures[name] = _rounded(lengths.mean(), 1) if lengths.n else None
        return figures


def _ks(n: int) -> list[int]:
    """Return the powers of two up to n, and n."""
    return sorted({2**power for power in range(n.bit_length())} | {n}) if n else []


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


@dataclass
class Summary:
    """What has been verified, a group a rule; `first_error` is that of the first row with one."""

    groups: dict[str, Group] = field(default_factory=dict)
    rows: int = 0
    errors: int = 0
    first_error: str | None = None

    def add(self, tallies: Iterable[Tally]) -> None:
        """Count rows."""
        for one in tallies:
            self.rows += 1
            if one.error is None:
                self.groups.setdefault(one.rule, Group()).add(one.answers)
            else:
                self.errors += 1
                self.first_error = self.first_error or one.error

    def values(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        groups = {name: group.values() for name, group in sorted(self.groups.items())}
        return {"rows": self.rows, "errors": self.errors, "rules": groups}

    def lines(self) -> list[str]:
        """Return the figures for people, some lines a rule."""
        return [
            line
            for name, group in sorted(self.values()["rules"].items())
            for line in _lines(name, group)
        ]


def _lines(name: str, group: Mapping[str, Any]) -> list[str]:
    """Return what is said of one rule."""
    of_rows = {
        k: f" of {plural(rows, 'row')}" if rows < group["rows"] else ""
        for k, rows in group["pass_rows"].items()
    }
    passes = ", ".join(f"pass@{k} {value:.1%}{of_rows[k]}" for k, value in group["pass"].items())
    head = f"{name}: {plural(group['rows'], 'row')}, {plural(group['answers'], 'answer')}, "
    told = [f"{head}{group['verified']:,} verified; {passes}"]
    line = f"  reward {group['reward_mean']:.2f} ± {group['reward_spread']:.2f} (mean, spread)"
    line += f"; {group['cut'] / group['answers']:.1%} cut before the end token"
    if group["rows_of_several"]:
        line += f"; {group['rows_without_variance']:,} of {plural(group['rows_of_several'], 'row')}"
        line += " without variance"
    told.append(line)
    lengths = [group["length_verified"], group["length_not_verified"]]
    if None not in lengths:
        line = f"  length {lengths[0]:,.0f} characters verified, {lengths[1]:,.0f} not"
        if (correlation := group["length_reward_correlation"]) is not None:
            line += f"; correlation with the reward {correlation:+.2f}"
        told.append(line)
    return told
