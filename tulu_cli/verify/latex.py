"""Answers in LaTeX as texts that can be compared: Minerva's form, and that of Hendrycks et al.

Both are definitions that scores depend on, quirks included; nothing here may be improved.
"""

import re

# Source: Lewkowycz et al. (2022), appendix D, in its order.
_SUBSTITUTIONS = (
    ("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), (r"\ ", ""), (" ", ""), ("mbox", "text"),
    (",\\text{and}", ","), ("\\text{and}", ","), ("\\text{m}", "\\text{}"),
)  # fmt: skip
_REMOVED = (
    "square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units",
    "\\ldots", "sue", "points", "feet", "minutes", "digits", "cents", "degrees", "cm", "gm",
    "pounds", "meters", "meals", "edges", "students", "childrentickets", "multiples",
    "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3", "\\text{\n}",
    "\\text{}", r"\mathrm{th}", r"^\circ", r"^{\circ}", r"\;", r",\!", "{,}", '"', "\\dots",
)  # fmt: skip
_MARKUP = (
    (re.compile(r"\\text\{(.*?)\}"), r"\1"),
    (re.compile(r"\\textbf\{(.*?)\}"), r"\1"),
    (re.compile(r"\\overline\{(.*?)\}"), r"\1"),
    (re.compile(r"\\boxed\{(.*)\}"), r"\1"),
    (re.compile(r"frac([^{])(.)"), r"frac{\1}{\2}"),
    (re.compile(r"sqrt([^{])"), r"sqrt{\1}"),
)


def minerva_form(answer: str) -> str:
    """Return a final answer as appendix D of Lewkowycz et al. normalises it."""
    answer = answer.split("=")[-1]
    for old, new in _SUBSTITUTIONS:
        answer = answer.replace(old, new)
    for removed in _REMOVED:
        answer = answer.replace(removed, "")
    answer = "\n".join(map(_first_formula, answer.split("\n")))
    for pattern, kept in _MARKUP:
        answer = pattern.sub(kept, answer)
    answer = answer.replace("$", "")
    digits = answer.replace(",", "")
    return digits if digits.isdigit() else answer


def _first_formula(line: str) -> str:
    """Return what a line has between its first two dollar signs, and them; else the line."""
    parts = line.split("$", 2)
    return f"${parts[1]}$" if len(parts) == 3 else line


def hendrycks_equal(one: str, other: str) -> bool:
    """Return True if two answers have the same form by Hendrycks et al. (MATH, 2021).

    Where a form cannot be made of either, both are compared as they are.
    """
    try:
        return hendrycks_form(one) == hendrycks_form(other)
    except ValueError:
        return one == other


# What MATH removes, in its order. Units come between the last two.
_UNSEEN = (
    ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""),
    ("\\right", ""), ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""),
)  # fmt: skip


def hendrycks_form(text: str) -> str:
    """Return the form that MATH compares answers in. Raise ValueError where it breaks down."""
    for old, new in _UNSEEN:
        text = text.replace(old, new)
    text, *units = text.split("\\text{ ")  # only units are written so
    if len(units) > 1:
        raise ValueError("two units")
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    if text.startswith("."):
        text = f"0{text}"
    name, *values = text.split("=")
    if len(values) == 1 and len(name) <= 2:
        text = values[0]
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    return _simple_quotient("\\frac{1}{2}" if text == "0.5" else text)


def _braced_roots(text: str) -> str:
    r"""Return \sqrt3 as \sqrt{3}."""
    first, *rest = text.split("\\sqrt")
    for part in rest:
        if not part:
            raise ValueError("a root of nothing")
        first += "\\sqrt" + (part if part[0] == "{" else f"{{{part[0]}}}{part[1:]}")
    return first


def _braced_fractions(text: str) -> str:
    r"""Return \frac12 and \frac1{2} as \frac{1}{2}; the whole text where one is too short."""
    made, *rest = text.split("\\frac")
    for part in rest:
        if not part:
            raise ValueError("a fraction of nothing")
        if part[0] == "{":
            made += f"\\frac{part}"
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            made += f"\\frac{{{part[0]}}}{part[1:]}"
        else:
            made += f"\\frac{{{part[0]}}}{{{part[1]}}}{part[2:]}"
    return made


def _simple_quotient(text: str) -> str:
    r"""Return 1/2 as \frac{1}{2}. Raise ValueError if what is divided is not two integers."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    above, below = int(parts[0]), int(parts[1])
    return f"\\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text
