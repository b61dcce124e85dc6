"""A fleet: its members' failures, and what becomes of the requests that they had."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS, eventually
from tulu_cli.core import (
    Completion,
    Done,
    EngineInfo,
    Request,
    Sampling,
    ScoreRequest,
    Text,
    Timings,
    Usage,
)
from tulu_cli.engines import sharing
from tulu_cli.engines.fleet import Fleet, Member
from tulu_cli.engines.sharing import Patience
from tulu_cli.errors import BadInput, EngineDied, ModelNotFound, TuluError, UsageError
from tulu_cli.protocol.errors import Refused

HASTE = Patience(first_pause=0.02, longest_pause=0.1, silence=0.1, none_left=DEADLINE_SECONDS)
SOON = replace(HASTE, none_left=0.3)  # for batches that are to end
POISON, BAD, REFUSED = 666, 667, 668


def completion(text: str) -> Completion:
    return Completion.of([Text(text)], Done("stop", Usage(1, 1), Timings(0, 0, 0), 0))


class Small:
    """Answers up to `slots` requests at a time, each after `seconds`, by its token id.

    `POISON` kills it, `BAD` is an error, `REFUSED` is refused for now; so is all once `is_out`.
    When `hangs` is set, nothing is answered any more. `asked` is what it was given. `is_loading`
    makes it one that is loaded.
    """

    info = EngineInfo("small", "m", None, "cpu", "none", None, {})

    def __init__(self, name: str, *, slots: int = 4, seconds: float = 0.002) -> None:
        self.name, self.slots, self.seconds = name, slots, seconds
        self.asked: list[int] = []
        self.most = self.opened = 0
        self.is_dead = self.is_out = False
        self.hangs = threading.Event()
        self.why_not: Exception | None = None
        self.opening: Callable[[], object] = lambda: None
        self.is_loading: Callable[[], bool] | None = None
        self._ended = threading.Event()

    def member(self, *, asks: bool = True) -> Member:
        is_alive = self._is_alive if asks else None
        return Member(self.name, self._open, is_alive, self.is_loading)

    def _open(self) -> "Small":
        self.opening()
        if self.why_not is not None:
            raise self.why_not
        if self.is_dead:
            raise EngineDied(f"{self.name} is dead.")
        self.opened += 1
        self._ended = threading.Event()
        return self

    def _is_alive(self) -> bool:
        return not self.is_dead and not self.hangs.is_set()

    def batch(self, requests: Iterable[Request]) -> Iterator[tuple[int, Any]]:
        waiting: list[tuple[float, int, int]] = []
        for position, request in enumerate(requests):
            token = request.prompt_token_ids[0]
            self.asked.append(token)
            waiting.append((time.monotonic() + self.seconds, position, token))
            self.most = max(self.most, len(waiting))
            if len(waiting) == self.slots:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: list[tuple[float, int, int]]) -> tuple[int, Any]:
        due, position, token = waiting.pop(0)
        while self.hangs.is_set() or time.monotonic() < due:
            if self._ended.wait(max(0.001, due - time.monotonic())):
                return position, EngineDied(f"{self.name} was closed.")
        if token == POISON:
            self.die()
            threading.Timer(0.03, self.revive).start()
        if self.is_dead:
            return position, EngineDied(f"{self.name} is dead.")
        if token == REFUSED or self.is_out:
            return position, Refused("later", 503)
        return position, BadInput("bad") if token == BAD else [completion(str(token))]

    def die(self) -> None:
        self.is_dead = True

    def revive(self) -> None:
        self.is_dead = False

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Any]]:
        raise UsageError("It cannot score.")

    def stream(self, request: Request) -> Iterator[Any]:
        raise NotImplementedError

    def close(self) -> None:
        self._ended.set()


class Refusing(Small):
    """Gives the requests with some token ids an error of its own, at once."""

    def __init__(self, name: str, tokens: Iterable[int], error: TuluError) -> None:
        super().__init__(name)
        self.tokens, self.error = frozenset(tokens), error

    def _next(self, waiting: list[tuple[float, int, int]]) -> tuple[int, Any]:
        if waiting[0][2] not in self.tokens:
            return super()._next(waiting)
        return waiting.pop(0)[1], self.error


def asked(*tokens: int) -> Iterator[Request]:
    return (Request((token,), Sampling()) for token in tokens)


def text_of(answer: list[Completion] | TuluError) -> str:
    return str(answer) if isinstance(answer, TuluError) else answer[0].text


def answers(
    fleet: Fleet,
    tokens: Iterable[int],
    at: Mapping[int, Callable[[], object]] | None = None,
) -> list[str]:
    """The answers by position, each of which came once; `at` is done after so many of them."""
    tokens = list(tokens)
    found: dict[int, str] = {}
    with closing(fleet.batch(asked(*tokens))) as batch:  # type: ignore[type-var]
        for position, answer in batch:
            assert position not in found
            found[position] = text_of(answer)
            (at or {}).get(len(found), lambda: None)()
    return [found[position] for position in range(len(tokens))]


def names(tokens: Iterable[int]) -> list[str]:
    return list(map(str, tokens))


def opened(
    *engines: Small,
    said: list[str] | None = None,
    asks: bool = True,
    patience: Patience = HASTE,
    all_must_open: bool = True,
) -> Fleet:
    say = (lambda _line: None) if said is None else said.append
    members = [one.member(asks=asks) for one in engines]
    fleet = Fleet(members, say=say, patience=patience, all_must_open=all_must_open)
    fleet.open(grace_seconds=DEADLINE_SECONDS)
    return fleet


def states(fleet: Fleet) -> dict[str, str]:
    return {report.name: report.state for report in fleet.reports()}


def each(*steps: Callable[[], object]) -> Callable[[], object]:
    return lambda: [step() for step in steps]


def becomes(fleet: Fleet, name: str, state: str) -> bool:
    return eventually(lambda: states(fleet)[name] == state)


def test_each_member_takes_what_it_can() -> None:
    slow, fast = Small("slow", slots=2, seconds=0.02), Small("fast", slots=8)
    with closing(opened(slow, fast)) as fleet:
        assert answers(fleet, range(300)) == names(range(300))
        reports = {report.name: report for report in fleet.reports()}
    assert (slow.most, fast.most) == (2, 8)
    assert reports["fast"].answers > 8 * reports["slow"].answers > 0
    assert sum(report.answers for report in reports.values()) == 300
    assert reports["fast"].tokens == reports["fast"].answers  # each answer has one


def test_what_a_dead_member_had_goes_to_another_first_and_it_comes_back() -> None:
    said: list[str] = []
    dying, other = Small("dying", seconds=0.01), Small("other", seconds=0.01)
    with closing(opened(dying, other, said=said)) as fleet:
        at = {
            40: each(dying.die, partial(becomes, fleet, "dying", "away")),
            80: each(dying.revive, partial(becomes, fleet, "dying", "open")),
        }
        assert answers(fleet, range(200), at) == names(range(200))
        (report, _) = fleet.reports()
    assert dying.opened == 2
    moved = {token for token in dying.asked if token < 150 and token in other.asked}
    places = [other.asked.index(token) for token in moved]
    assert len(moved) == report.losses
    assert max(places) - min(places) < 8, "at once, and together"
    assert said[0].startswith("tulu: dying is dead. Its ")
    assert said[1:] == ["tulu: dying answers again."]


def test_a_member_that_hangs_is_given_up() -> None:
    said: list[str] = []
    hung = Small("hung")

    def hang() -> None:
        hung.hangs.set()
        hung.opening = hung.hangs.clear

    with closing(opened(hung, said=said)) as fleet:
        assert answers(fleet, range(50), {10: hang}) == names(range(50))
    assert said[0].startswith("tulu: hung hangs: it has said nothing for ")


def test_the_end_does_not_wait_for_a_slow_member() -> None:
    slow, other = Small("slow", seconds=2 * DEADLINE_SECONDS), Small("other")
    with closing(opened(slow, other, asks=False)) as fleet:
        assert answers(fleet, range(50)) == names(range(50)), "the other one took a copy"


def test_one_that_hangs_and_lives_does_not_keep_what_others_refuse_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "AGAIN_SECONDS", 0.2)
    hung, other = Small("hung"), Small("other")
    hung.hangs.set()
    with closing(opened(hung, other, asks=False)) as fleet:
        assert answers(fleet, [1, REFUSED, *range(3, 20)]) == ["1", "later", *names(range(3, 20))]


def test_a_poisonous_request_becomes_an_error_and_harms_no_other() -> None:
    tokens = [*range(20), POISON, *range(30, 50)]
    engines = [Small(name) for name in "abc"]
    with closing(opened(*engines)) as fleet:
        found = answers(fleet, tokens)
    # One more where an idle one had taken a copy of it.
    assert re.search("[45] servers died with it in flight, the last one alone", found.pop(20))
    assert found == names([*range(20), *range(30, 50)])
    assert sum(engine.asked.count(POISON) for engine in engines) in (3, 4)


def test_an_error_of_a_request_is_its_answer_and_a_refusal_for_now_is_not() -> None:
    out, fine = Small("out"), Small("fine", seconds=0.01)
    out.is_out = True
    with closing(opened(out, fine)) as fleet:
        found = answers(fleet, [1, BAD, *range(20, 60)], {30: lambda: setattr(out, "is_out", 0)})
        assert found == ["1", "bad", *names(range(20, 60))]
        assert answers(fleet, [1, REFUSED, 2]) == ["1", "later", "2"]
        assert sum(report.errors for report in fleet.reports()) == 1


def test_what_one_member_refuses_another_answers() -> None:
    one = Refusing("one", range(1, 200, 2), Refused("out of memory", 500))
    other = Small("other", seconds=0.02)
    with closing(opened(one, other)) as fleet:
        assert answers(fleet, range(200)) == names(range(200))
        assert sum(report.errors for report in fleet.reports()) == 0
    assert set(range(1, 200, 2)) <= set(other.asked)


@pytest.mark.parametrize(
    "error", [Refused("no key", 401), ModelNotFound("no such model"), Refused("elsewhere", 302)]
)
def test_a_member_that_denies_every_request_answers_none(error: TuluError) -> None:
    said: list[str] = []
    wrong, fine = Refusing("wrong", range(80), error), Small("fine", seconds=0.01)
    with closing(opened(wrong, fine, said=said)) as fleet:
        assert answers(fleet, range(80)) == names(range(80))
    assert said[0] == f"tulu: wrong: {error} It is asked again."


def test_where_all_members_lose_their_key_no_request_becomes_an_error() -> None:
    some = [Refusing(name, range(40, 80), Refused("no key", 401)) for name in ("a", "b", "c")]
    fleet = opened(*some, patience=SOON)
    found: list[Any] = []
    for one in some:
        one.why_not = Refused("no key", 401)
    lost = pytest.raises(EngineDied, match=r"none came back within 0 s\. no key")
    with closing(fleet), lost:
        found.extend(answer for _, answer in fleet.batch(asked(*range(80))))
    assert set(map(text_of, found)) <= set(names(range(40)))


def test_a_request_that_every_member_denies_becomes_an_error_and_harms_no_other() -> None:
    some = [Refusing(name, [7], Refused("not this one", 403)) for name in ("one", "other")]
    with closing(opened(*some)) as fleet:
        found = answers(fleet, range(100))
    assert found.pop(7) == "not this one"
    assert found == names([*range(7), *range(8, 100)])
    assert [one.asked.count(7) for one in some] in ([1, 2], [2, 1])


def test_a_member_that_denies_one_request_goes_on_with_the_others() -> None:
    said: list[str] = []
    only = Refusing("only", [7], Refused("not this one", 404))
    with closing(opened(only, said=said)) as fleet:
        found = answers(fleet, range(100))
        assert (found.pop(7), len(found)) == ("not this one", 99)
        assert answers(fleet, [7]) == ["not this one"], "opened again, it has shown what it can"
    assert (only.opened, len(said)) == (2, 2)
    assert said[0] == "tulu: only: not this one It is asked again."


def test_it_ends_when_no_member_is_left_and_none_comes_back_in_time() -> None:
    said: list[str] = []
    one, other = Small("one"), Small("other")

    fleet = opened(one, other, said=said, patience=SOON)
    with closing(fleet), pytest.raises(EngineDied, match="none came back within 0 s"):
        answers(fleet, range(50), {10: each(one.die, other.die)})
    assert "tulu: no server is left; waiting 0 s for one to come back." in said

    class Reviving(list[str]):
        def append(self, line: str) -> None:
            if "no server is left" in line:
                other.revive()

    one, other = Small("one"), Small("other")
    with closing(opened(one, other, said=Reviving())) as fleet:
        at = {10: each(one.die, other.die)}
        assert answers(fleet, range(50), at) == names(range(50))


def test_members_join_late_and_wrong_ones_are_left_out() -> None:
    said: list[str] = []
    first, late, wrong = Small("first", seconds=0.01), Small("late"), Small("wrong")
    wrong.why_not = UsageError("It runs another model.")
    late.is_dead = True
    with closing(opened(first, late, said=said)) as fleet:
        at = {
            5: each(
                partial(fleet.add, wrong.member()), partial(becomes, fleet, "wrong", "left out")
            ),
            10: each(late.revive, partial(becomes, fleet, "late", "open")),
            15: each(partial(fleet.add, late.member())),
        }
        assert answers(fleet, range(150), at) == names(range(150))
        assert states(fleet) == {"first": "open", "late": "open", "wrong": "left out"}
    assert said == [
        "tulu: late is dead. It is asked again meanwhile.",
        "tulu: wrong is left out: It runs another model.",
        "tulu: late has joined.",
    ]
    with pytest.raises(UsageError, match="another model"):
        opened(first, wrong)
    first.is_dead = late.is_dead = True
    with pytest.raises(
        EngineDied, match=r"None of 2 servers answers\. first is dead\. late is dead"
    ):
        opened(first, late)


def test_where_not_all_must_open_one_that_cannot_leaves_the_others_to_begin() -> None:
    said: list[str] = []
    slow, wrong = Small("slow"), Small("wrong")
    wrong.why_not = ModelNotFound("wrong has no weights.")
    members = [one.member() for one in (slow, wrong)]
    fleet = Fleet(members, say=said.append, patience=HASTE, all_must_open=False)
    slow.opening = lambda: becomes(fleet, "wrong", "left out")
    fleet.open()
    with closing(fleet):
        assert answers(fleet, range(9)) == names(range(9))
    assert said == ["tulu: wrong has no weights. It is left out."]
    with pytest.raises(ModelNotFound, match="no weights"):
        opened(wrong, all_must_open=False)


def test_loading_again_may_take_longer_than_a_lost_member_is_waited_for() -> None:
    only = Small("only")
    only.is_loading = lambda: True
    with closing(opened(only, patience=replace(HASTE, none_left=1))) as fleet:

        def die() -> None:
            only.is_dead, only.opening = True, load

        def load() -> None:
            time.sleep(1.5)
            only.is_dead = False

        assert answers(fleet, range(50), {10: die}) == names(range(50))


def test_what_waits_for_a_place_to_load_is_waited_for_no_longer_than_others() -> None:
    said: list[str] = []
    lost, never_placed, has_room = Small("lost"), Small("never placed"), threading.Event()
    never_placed.opening = has_room.wait
    for one in (lost, never_placed):
        one.is_loading = lambda: False
    fleet = opened(lost, said=said, patience=SOON)

    def die() -> None:
        lost.is_dead, lost.opening = True, has_room.wait
        fleet.add(never_placed.member())

    try:
        with closing(fleet), pytest.raises(EngineDied, match=r"within 0 s\. lost is dead\."):
            answers(fleet, range(50), {10: die})
    finally:
        has_room.set()
    assert said[1:] == ["tulu: no server is left; waiting 0 s for one to come back."]


def test_a_failure_that_nobody_foresaw_ends_the_opening() -> None:
    odd = Small("odd")
    odd.why_not = AttributeError("no such thing")
    with pytest.raises(AttributeError, match="no such thing"):
        opened(odd)


def test_no_more_is_read_than_the_members_will_soon_take() -> None:
    engine, read = Small("only"), count()
    requests = (replace(request, prompt=(next(read),)) for request in asked(*range(10**6)))
    with closing(opened(engine)) as fleet, closing(fleet.batch(requests)) as batch:  # type: ignore[type-var]
        for _ in range(100):
            next(batch)
    assert next(read) < 200


def test_what_is_no_failure_of_a_member_ends_the_batch() -> None:
    fleet = opened(Small("one"), Small("other"))
    with closing(fleet), pytest.raises(UsageError, match="cannot score"):
        list(fleet.score([ScoreRequest((1, 2), 1)]))


def test_a_streamed_answer_comes_from_one_member() -> None:
    with closing(opened(Small("one"))) as fleet:
        text, done = fleet.stream(next(asked(7)))
        assert (text.text, done.index) == ("7", 0)  # type: ignore[union-attr]
        with pytest.raises(BadInput):
            list(fleet.stream(next(asked(BAD))))
