"""A template that loops or grows without end is one sentence in seconds, in any thread."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.program import DEADLINE_SECONDS
from tulu_cli.commands.template.parse import parse_text
from tulu_cli.core import Message
from tulu_cli.errors import BadInput, TemplateExhausted
from tulu_cli.prompt import limits, render_chat
from tulu_cli.prompt.builtin import Templates
from tulu_cli.prompt.inspect.diff import try_out
from tulu_cli.prompt.inspect.lint import LintTarget, lint_conversation, lint_template
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.render import render_template

from .pairs import turns

START = "{% set n = namespace(x='ab') %}"
AGAIN = START + "{% for i in range(99) %}{% set n.x = EXPRESSION %}{% endfor %}"
CHARACTERS = "makes more than 1,048,576 characters"
BITS = "computes a number of more than 131,072 bits"
TOO_LARGE = {
    "{{ 'x' * 10**10 }}": CHARACTERS,
    "{{ 10**10 * 'x' }}": CHARACTERS,
    "{{ [0] * 10**10 }}": CHARACTERS,
    "{{ 10 ** (10 ** 10) }}": BITS,
    AGAIN.replace("'ab'", "10").replace("EXPRESSION", "n.x * n.x"): BITS,
    AGAIN.replace("EXPRESSION", "n.x + n.x"): CHARACTERS,
    AGAIN.replace("EXPRESSION", "n.x ~ n.x"): CHARACTERS,
    AGAIN.replace("'ab'", "[1]").replace("EXPRESSION", "n.x + n.x"): CHARACTERS,
    AGAIN.replace("EXPRESSION", "n.x.replace('a', 'aa').replace('b', 'ab')"): CHARACTERS,
    AGAIN.replace("EXPRESSION", "n.x | replace('a', 'aab')"): CHARACTERS,
    AGAIN.replace("EXPRESSION", "[n.x, n.x] | join"): CHARACTERS,
    AGAIN.replace("EXPRESSION", "n.x.join([n.x, n.x])"): CHARACTERS,
    AGAIN.replace("EXPRESSION", "'%s%s' % (n.x, n.x)"): CHARACTERS,
    AGAIN.replace("EXPRESSION", "'{0}{0}'.format(n.x)"): CHARACTERS,
    AGAIN.replace("'ab'", "'\"'").replace("EXPRESSION", "n.x | tojson"): CHARACTERS,
    "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('xy' * 9**5) }}": CHARACTERS,
    "{% for i in range(9999) %}{{ 'x' * 99999 }}{% endfor %}": CHARACTERS,
    "{% macro m() %}{% for i in range(9999) %}{{ 'x' * 9**5 }}{% endfor %}{% endmacro %}"
    "{{ m() }}": CHARACTERS,
    "{{ ('x' * 10**7).replace('x', 'y' * 10**5) }}": CHARACTERS,
    "{{ ('x' * 10**7).replace('', 'y' * 10**5) }}": CHARACTERS,
    "{{ ('y' * 10**5).join('x' * 10**5) }}": CHARACTERS,
    "{{ (['y' * 10**5] * 10**5) | join }}": CHARACTERS,
    "{{ 'x' | center(10**10) }}": CHARACTERS,
    "{{ 'x' | indent(10**10) }}": CHARACTERS,
    "{{ 'x'.ljust(10**10) }}": CHARACTERS,
    "{{ '\t\t'.expandtabs(10**10) }}": CHARACTERS,
    "{{ '%10000000000d' % 1 }}": CHARACTERS,
    "{{ '%*d' % (10**10, 1) }}": CHARACTERS,
    "{{ '%10000000000d' | format(1) }}": CHARACTERS,
    "{{ '{:>10000000000}'.format(1) }}": CHARACTERS,
    "{{ '{:>{}}'.format(1, 10**10) }}": CHARACTERS,
    "{{ [1] | tojson(indent=10**10) }}": CHARACTERS,
    "{{ lipsum(n=10**9) | length }}": CHARACTERS,
}
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
ENDLESS = {
    "nested loops": LOOP,
    "loops that leave all out": LOOP.replace("(99999) %", "(99999) if false %").replace(
        " if false", "", 1
    ),
    "a loop over a text": "{% for c in text %}{% for d in text %}{% endfor %}{% endfor %}",
    "two macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "a recursive loop": "{% for i in t recursive %}{% if loop.depth < 60 %}{{ loop(t) }}{% endif %}"
    "{% endfor %}",
    "filters of items": "{% for i in range(99999) %}"
    "{{ range(99999) | map('upper') | select('in', '') | list | length }}{% endfor %}",
}
VARIABLES = {"text": "x" * 10**6, "t": [1, 2]}


def complaint(source: str) -> str:
    """Return the sentence that the source ends with."""
    with pytest.raises(BadInput) as caught:
        render_template(source, VARIABLES)
    return str(caught.value)


def complaint_elsewhere(source: str) -> str:
    """Return the sentence that the source ends with in another thread."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(complaint(source)), daemon=True)
    thread.start()
    thread.join(timeout=DEADLINE_SECONDS)
    (sentence,) = said
    return sentence


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give templates a moment."""
    monkeypatch.setattr("tulu_cli.prompt.limits.SECONDS", 0.1)
    monkeypatch.setattr("tulu_cli.prompt.limits.GRACE", 0.1)


@pytest.mark.parametrize("source", TOO_LARGE, ids=range(len(TOO_LARGE)))
def test_what_grows_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.prompt.limits.MOST_CHARACTERS", 2**20)  # sooner than usual
    assert complaint(source) == f"The chat template {TOO_LARGE[source]}; it is broken or hostile."


@pytest.mark.parametrize("join", ["+", "~"])
def test_a_text_that_doubles_is_refused_before_it_takes_the_memory(join: str) -> None:
    source = AGAIN.replace("EXPRESSION", f"n.x {join} n.x")
    assert "makes more than 134,217,728 characters" in complaint(source)


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("where", [complaint, complaint_elsewhere], ids=["here", "elsewhere"])
def test_what_does_not_end_is_stopped(hurried: None, name: str, where: object) -> None:
    assert callable(where)
    started = time.thread_time()
    assert where(ENDLESS[name]) == (
        "The chat template runs for more than 0.1 seconds; it is broken or hostile."
    )
    assert time.thread_time() - started < 5


def test_a_macro_that_calls_itself_ends() -> None:
    assert "RecursionError" in complaint("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")


def test_a_growing_text_is_refused_in_another_thread_too() -> None:
    source = AGAIN.replace("EXPRESSION", "n.x ~ n.x")
    assert "makes more than 134,217,728 characters" in complaint_elsewhere(source)


def test_an_endless_template_does_not_stop_others(hurried: None) -> None:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(complaint(LOOP)))
    thread.start()
    while thread.is_alive():
        assert render_template("{% for i in range(3) %}{{ i }}{% endfor %}", {}) == "012"
    assert len(said) == 1


def test_a_computer_that_was_stopped_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.prompt.limits.SECONDS", 0.0)
    assert render_template("{% for i in range(999) %}{% endfor %}{{ 1 }}", {}) == "1"


def test_a_range_that_is_too_long_is_refused_at_once() -> None:
    assert "Range too big" in complaint("{% for i in range(10**9) %}{% endfor %}")


def test_work_within_the_limits_is_not_touched() -> None:
    source = "{{ 'ab' * 3 }}{{ 2 ** 10 }}{{ 3 * 4 }}{{ 1.5 * 2 }}{{ 'a' + 'b' ~ 1 }}{{ [1] + [2] }}"
    assert render_template(source, {}) == "ababab1024123.0ab1[1, 2]"
    source = (
        "{{ 'a-b'.replace('-', '+') }}{{ 'a' | replace('a', 'b') }}{{ ', '.join('abc') }}"
        "{{ [1, 2] | join('-') }}{{ [{'x': 1}] | join(attribute='x') }}{{ 'x' | center(3) }}"
        "{{ 'x'.rjust(2) }}{{ '%03d{a: 123456789}' % 7 }}{{ 7 % 4 }}{{ '%s!' | format('x') }}"
        "{{ '{:>3}{a}'.format(1, a=2) }}{{ 'a\nb' | indent(1) }}{{ 'x'.zfill(3) }}"
    )
    assert render_template(source, {}) == "a+bba, b, c1-21 x  x007{a: 123456789}3x!  12a\n b00x"


TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
EACH_A_WHILE = "{% for i in range(250) %}{% for j in range(999) %}{% endfor %}{% endfor %}" + TURNS
# A syntax error behind much that is right: to find it takes a while, and no loop is run.
LATE_ERROR = "{% if a %}x{% endif %}" * 3000 + "{% if %}"
WASTEFUL = {
    "nested loops": LOOP + TURNS,
    "slow but finite": EACH_A_WHILE,
    "slow from two messages on": "{% if messages[1] %}" + LOOP + "{% endif %}" + TURNS,
    "slow and then a refusal": EACH_A_WHILE + "{{ raise_exception('No.') }}",
    "slow to compile": LATE_ERROR,
    "growing": "{{ 'x' * 10**10 }}" + TURNS,
    "growing from two messages on": "{% if messages[1] %}{{ 'x' * 10**10 }}{% endif %}" + TURNS,
    "nested deeply": "{% if true %}" * 200 + "{% endif %}" * 200 + TURNS,
    "nested expressions": "{{ " + "(" * 200 + "1" + ")" * 200 + " }}" + TURNS,
    "filters of filters": "{{ a" + " | trim" * 5000 + " }}" + TURNS,
    "sums of sums": "{{ " + "+".join("1" * 5000) + " }}" + TURNS,
    "a long source": "{{ a }}" * 20_000 + TURNS,
}


def learnt(writer: PromptWriter) -> object:
    return writer.grammar


def strict(writer: PromptWriter) -> object:
    return replace(writer, strict_roles=True).text(turns("Hi", "Hello"))


def read_back(writer: PromptWriter) -> object:
    return parse_text("<|user|>Hi</s>", "stdin", writer)


def linted(writer: PromptWriter) -> object:
    (finding,) = lint_template(LintTarget(writer))
    # What refuses the first conversation is asked nothing else, so that nothing is used up.
    if finding.code not in ("T001", "T004"):
        assert finding.code == "T003"
    raise TemplateExhausted(f"{finding.message} (it is broken or hostile)")


def conversation_linted(writer: PromptWriter) -> object:
    null = Message("user", "", {"content": None})
    return lint_conversation(LintTarget(writer), [null, *turns("Hi", "Hello")], "stdin")


VERBS = (learnt, strict, read_back, linted, conversation_linted, try_out)


@pytest.mark.parametrize("name", WASTEFUL)
@pytest.mark.parametrize("verb", VERBS)
def test_what_tries_many_conversations_has_one_budget(
    hurried: None, name: str, verb: Callable[[PromptWriter], object]
) -> None:
    """None of it takes a template that is used up for one that refuses, and goes on."""
    writer = PromptWriter(Templates({"default": WASTEFUL[name]}, {}))
    started = time.thread_time()
    with pytest.raises(TemplateExhausted, match="it is broken or hostile"):
        verb(writer)
    assert time.thread_time() - started < 3


def test_a_second_try_does_not_hide_the_first(hurried: None) -> None:
    """A null content is tried as an empty text, unless the template has taken too much for it."""
    null = [Message("assistant", "", {"content": None, "tool_calls": [{}]})]
    source = "{% if messages[0].content is none %}{{ 'x' * 10**10 }}{% endif %}ok"
    with pytest.raises(TemplateExhausted):
        render_chat(Templates({"default": source}, {}), null)


def swallowing(after: BaseException | None = None) -> None:
    """Take a template that is used up for one that refuses, twice, and go on."""
    with limits.BUDGET:
        for source in ("{{ 'x' * 10**10 }}", "never"):
            with suppress(BadInput):
                assert not render_template(source, {})
        if after:
            raise after


@pytest.mark.parametrize("after", [None, BadInput("It refuses.")])
def test_what_was_swallowed_is_raised_at_the_end(after: BaseException | None) -> None:
    with pytest.raises(TemplateExhausted):
        swallowing(after)
    assert render_template("x", {}) == "x", "the next budget is whole"


def test_a_ctrl_c_is_not_replaced() -> None:
    with pytest.raises(KeyboardInterrupt):
        swallowing(KeyboardInterrupt())


def test_texts_that_are_kept_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.prompt.limits.MOST_CHARACTERS_IN_ALL", 2**20)
    source = AGAIN.replace("'ab'", "[]").replace("EXPRESSION", "n.x + ['x' * (2**17 + i)]")
    assert complaint(source) == (
        "The chat template makes more than 1,048,576 characters in all; it is broken or hostile."
    )


@pytest.mark.parametrize("name", ["wordwrap(1)", "urlize", "sort", "unique | list", "title"])
def test_slow_filters_take_no_long_text(name: str) -> None:
    assert f"gives the filter {name.split('(')[0].split()[0]} more than 65,536" in complaint(
        f"{{{{ ('a.' * 10**6) | {name} | length }}}}"
    )
    assert render_template(f"{{{{ 'a.b' | {name} | length }}}}", {}).isdigit()


def test_a_long_text_in_a_source_is_not_its_length() -> None:
    assert render_template("x" * 10**6 + "{#" + "y" * 10**6 + "#}{{ 1 }}", {}) == "x" * 10**6 + "1"
