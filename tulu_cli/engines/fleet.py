"""Several engines of one model as one: each takes what it can, and what one loses another answers.

Every member has a thread of its own, which opens its engine and has it pull requests from those
that wait, so a member is kept full by what it takes and by nothing else. The one consumer of
`Fleet.batch` reads the input and is given each answer once, whatever happens to the members.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal

from tulu_cli.core import (
    Completion,
    Done,
    EngineInfo,
    Request,
    Score,
    ScoreRequest,
    Text,
    Usage,
)
from tulu_cli.engines.assemble import streamed
from tulu_cli.engines.base import Engine, none_answers
from tulu_cli.errors import EngineDied, EngineError, ModelNotFound, TuluError
from tulu_cli.protocol.errors import Refused
from tulu_cli.text import duration, plural

State = Literal["opening", "open", "resting", "away", "left out"]
_Verb = Literal["batch", "score"]
_SUSPECT_DEATHS = 2  # with the same request in flight; the next member is given it alone
_MOST_REFUSALS = 3  # of a request, each of which a member's engine has tried to avoid
_MOST_REFUSED = 256  # requests that wait for members that have not refused them; then none is read
_MOST_STRIKES = 3  # failures of a member in a row, without an answer between them
_COPY_AGAIN_SECONDS = 60.0
_LOOK_SECONDS = 0.2  # how often an idle member looks for a request that is late elsewhere
_WAKE_SECONDS = 1.0  # how often others look for what they were not told of
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class Member:
    """One of the engines: a name for people, and how to open it.

    `open` runs in the member's thread. Of its errors, EngineError means that it may succeed later;
    any other TuluError, that it never will. The engine's `close` may be called from any thread, and
    ends a `batch` that runs. `is_alive`, called from any thread while a batch runs, returns False
    only where the engine is gone or hangs; None is for an engine that always tells.
    """

    name: str
    open: Callable[[], Engine]
    is_alive: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a member has done until now.

    `answers` were the first to their requests, and `errors` are those of them that were errors.
    `tokens` have been generated, or scored. `losses` counts how often its requests went elsewhere.
    """

    name: str
    state: State
    answers: int
    errors: int
    tokens: int
    in_flight: int
    losses: int

    def since(self, earlier: "Report") -> "Report":
        """Return what the member has done since an earlier report of it."""
        return replace(
            self,
            answers=self.answers - earlier.answers,
            errors=self.errors - earlier.errors,
            tokens=self.tokens - earlier.tokens,
            losses=self.losses - earlier.losses,
        )


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a fleet waits.

    A lost member is opened again after `first_pause`, which doubles up to `longest_pause` until it
    answers. One that is silent for `silence` is asked whether it lives. Where no member is left,
    the batch ends after `none_left`.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    silence: float = 20.0
    none_left: float = 300.0


@dataclass(eq=False, slots=True)
class _Pending:
    """A request that has no answer yet. `taken` is when a member last took it.

    `deaths` are of members that had it in flight. Members that live may have refused it for now,
    the last one at `refused_at`; those that are `denied_by` would refuse any other too.
    """

    run: "_Run"
    position: int
    request: Any
    deaths: int = 0
    refusals: int = 0
    refused_by: "set[_Seat]" = field(default_factory=set)
    refused_at: float = 0.0
    denied_by: "set[_Seat]" = field(default_factory=set)
    taken: float = 0.0
    is_answered: bool = False
    holders: "set[_Seat]" = field(default_factory=set)


@dataclass(eq=False, slots=True)
class _Run:
    """One call of `batch` or `score`: what waits, what members have, and what they answered.

    Of what waits, `refused` goes first, to members that have not refused it. `in_flight` is in the
    order of being taken. `unanswered` counts what was read. `has_ended` says that the input is read
    to its end.
    """

    verb: _Verb
    ready: deque[_Pending] = field(default_factory=deque)
    refused: deque[_Pending] = field(default_factory=deque)
    suspects: deque[_Pending] = field(default_factory=deque)
    in_flight: dict[_Pending, None] = field(default_factory=dict)
    answers: deque[tuple[int, Any]] = field(default_factory=deque)
    unanswered: int = 0
    has_ended: bool = False
    is_over: bool = False

    @property
    def is_done(self) -> bool:
        return self.has_ended and not self.unanswered and not self.answers


@dataclass(eq=False, slots=True)
class _Seat:
    """A member's place: what it holds, and what is known of it. Times are of `time.monotonic`.

    `heard` is when it last showed life, `proven` when it was opened or last answered. A `suspect`
    is all that it holds.
    """

    member: Member
    pause: float
    state: State = "opening"
    engine: Engine | None = None
    thread: threading.Thread | None = None
    held: dict[_Pending, None] = field(default_factory=dict)
    suspect: _Pending | None = None
    is_copying: bool = False
    is_being_asked: bool = False
    has_been_tried: bool = False
    is_leaving: bool = False
    strikes: int = 0
    due: float = 0.0
    heard: float = 0.0
    proven: float = 0.0
    why: TuluError | None = None
    answers: int = 0
    errors: int = 0
    tokens: int = 0
    losses: int = 0
    seconds: float = 0.0  # from taking a request to its answer, of all its answers together

    @property
    def report(self) -> Report:
        return Report(
            self.member.name,
            self.state,
            self.answers,
            self.errors,
            self.tokens,
            len(self.held),
            self.losses,
        )


class Fleet:
    """An engine made of several. `noun` is what people call a member, `say` takes what is said.

    `say` is called by the consumer's thread alone. `info` is that of the member that was open
    first, and there once `open` has returned.

    With `loads`, opening a member loads its engine, and is not only asking whether it is there: a
    member that never can be opened does not keep the others from beginning, and the time in which
    one is opened again does not count as time in which none is left.
    """

    info: EngineInfo

    def __init__(
        self,
        members: Iterable[Member],
        *,
        noun: str = "server",
        say: Callable[[str], None] = lambda _line: None,
        patience: Patience | None = None,
        loads: bool = False,
    ) -> None:
        self.noun = noun
        self._loads = loads
        self._say = say
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._for_members = threading.Condition(self._lock)
        self._for_consumer = threading.Condition(self._lock)
        self._seats: list[_Seat] = []
        self._run: _Run | None = None
        self._said: deque[str] = deque()
        self._fatal: BaseException | None = None
        self._is_begun = self._is_started = self._is_closed = False
        self._died_at = 0.0
        self._watched_at = 0.0
        self._none_since: float | None = None
        for member in members:
            self.add(member)

    def add(self, member: Member) -> None:
        """Take in a member, while a batch runs too; any thread may call this.

        One whose name is there already is left as it is, unless it has been left out.
        """
        with self._lock:
            there = (seat for seat in self._seats if seat.state != "left out")
            names = {seat.member.name for seat in there if not seat.is_leaving}
            if member.name in names or self._is_closed:
                return
            seat = _Seat(member, self._patience.first_pause)
            self._seats.append(seat)
            if self._is_begun:
                self._begin(seat)

    def remove(self, name: str) -> None:
        """Let a member finish what it has, and leave; any thread may call this."""
        with self._lock:
            for seat in self._seats:
                if seat.member.name == name and seat.state != "left out":
                    seat.is_leaving = True
                    if seat.state == "open":
                        seat.state = "resting"
            self._notify_all()

    def open(self, grace_seconds: float = 0.0) -> None:
        """Open the members, and return once one is open and the others were tried.

        Those that need more than `grace_seconds` after that are taken in later, as are those that
        do not answer yet. Raise the error of a member that it makes no sense to try again, where
        the members load only if none can be opened, and EngineDied if none answers.
        """
        with self._lock:
            self._is_begun = True
            for seat in self._seats:
                self._begin(seat)
        try:
            with self._lock:
                self._wait_until_open(grace_seconds)
        except BaseException:
            self.close()
            raise
        self._talk()

    def _wait_until_open(self, grace_seconds: float) -> None:
        until: float | None = None
        while not self._are_opened(until):
            if until is None and any(seat.state == "open" for seat in self._seats):
                until = time.monotonic() + grace_seconds
            left = None if until is None else max(until - time.monotonic(), 0.0)
            self._for_consumer.wait(left)
        self._is_started = True
        for seat in self._seats:
            if seat.state == "away" or (seat.state == "opening" and seat.why is not None):
                self._said.append(f"tulu: {seat.why} It is asked again meanwhile.")
            elif seat.state == "opening":
                self._said.append(f"tulu: {seat.member.name} is not open yet; it joins later.")

    def reports(self, since: Sequence[Report] = ()) -> list[Report]:
        """Return what each member has done, in the order of their joining.

        With what was returned earlier, return what they have done since then.
        """
        with self._lock:
            reports = [seat.report for seat in self._seats]
        known = zip(reports, since, strict=False)
        return [one.since(before) for one, before in known] + reports[len(since) :]

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """Yield each choice of an answer as one piece and its end, from a member that is free.

        Nothing is yielded before the whole answer is there, so another member can still give it.
        """
        return streamed(self.batch([request]))

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Yield each request's position with its answer, once, as they come from the members.

        A request that several engines have failed with gets an error. Raise EngineDied when no
        member is left, and none came back within the time.
        """
        return self._all("batch", requests)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """Yield each request's position with its score, once, as they come from the members.

        Errors are those of `batch`.
        """
        return self._all("score", requests)

    def close(self) -> None:
        """Close every engine; the fleet cannot be used again."""
        with self._lock:
            self._is_closed = True
            opened = [(seat, seat.engine) for seat in self._seats if seat.engine is not None]
            for seat, _ in opened:
                seat.engine = None
            self._notify_all()
        for _, engine in opened:
            engine.close()
        until = time.monotonic() + _CLOSE_SECONDS
        for seat, _ in opened:
            if seat.thread is not None and seat.thread is not threading.current_thread():
                seat.thread.join(max(0.0, until - time.monotonic()))

    # The consumer's side.

    def _all(self, verb: _Verb, requests: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        run, source = _Run(verb), enumerate(requests)
        with self._lock:
            assert self._run is None, "one batch at a time"
            self._run = run
            self._for_members.notify_all()
        try:
            while not run.is_done:
                self._fill(run, source)
                answer = self._next_answer(run)
                self._talk()
                if answer is not None:
                    yield answer
            self._talk()
        finally:
            with self._lock:
                run.is_over, self._run = True, None
                self._notify_all()

    def _fill(self, run: _Run, source: Iterator[tuple[int, Any]]) -> None:
        """Read the input until enough requests wait for the members, and no further."""
        while self._wants_more(run):
            item = next(source, None)
            with self._lock:
                if item is None:
                    run.has_ended = True
                    self._for_members.notify_all()
                else:
                    run.unanswered += 1
                    run.ready.append(_Pending(run, *item))
                    self._for_members.notify()

    def _wants_more(self, run: _Run) -> bool:
        has_room = len(run.refused) < _MOST_REFUSED
        return not run.has_ended and has_room and len(run.ready) < max(16, 2 * len(self._seats))

    def _next_answer(self, run: _Run) -> tuple[int, Any] | None:
        """Return the next answer; None where there is something else to do first."""
        with self._lock:
            while True:
                self._watch()
                if self._fatal is not None:
                    raise self._fatal
                if run.answers:
                    return run.answers.popleft()
                if run.is_done or self._said or self._wants_more(run):
                    return None
                self._for_consumer.wait(1.0)

    def _talk(self) -> None:
        while self._said:
            self._say(self._said.popleft())

    def _watch(self) -> None:
        """Have silent members asked whether they live. Raise EngineDied if none is left."""
        now = time.monotonic()
        since = now - self._watched_at
        if since < min(1.0, self._patience.silence):
            return
        self._watched_at = now
        for seat in self._seats:
            is_silent = bool(seat.held) and now - seat.heard >= self._patience.silence
            if is_silent and not seat.is_being_asked and seat.member.is_alive is not None:
                seat.is_being_asked = True
                threading.Thread(target=self._ask, args=(seat,), daemon=True).start()
        self._check_any_is_left(now, since)

    def _ask(self, seat: _Seat) -> None:
        """Give a silent member up if it does not live any more."""
        assert seat.member.is_alive is not None, "who is asked can be asked"
        lives = seat.member.is_alive()
        with self._lock:
            seat.is_being_asked = False
            now = time.monotonic()
            silent, seat.heard = now - seat.heard, now
        if not lives:
            said = f"{seat.member.name} hangs: it has said nothing for {duration(silent)}."
            self._lose(seat, EngineDied(said))

    def _check_any_is_left(self, now: float, since: float) -> None:
        """Raise EngineDied where none is left for too long; `since` are seconds from the last time.

        A member that is opened again is not left yet, but the time of loading does not count.
        """
        if any(self._is_left(seat) for seat in self._seats):
            self._none_since = None
            return
        patience = self._patience.none_left
        why = next((str(seat.why) for seat in reversed(self._seats) if seat.why), "")
        if all(seat.state == "left out" for seat in self._seats):
            raise EngineDied(f"No {self.noun} is left. {why}".rstrip())
        if self._none_since is None:
            self._none_since = now
            self._said.append(
                f"tulu: no {self.noun} is left; waiting {duration(patience)} for one to come back."
            )
        elif self._loads and any(seat.state == "opening" for seat in self._seats):
            self._none_since += since
        elif now - self._none_since >= patience:
            raise EngineDied(
                f"No {self.noun} is left, and none came back within {duration(patience)}. {why}"
            )

    def _is_left(self, seat: _Seat) -> bool:
        is_joining = seat.state == "opening" and not seat.has_been_tried
        return is_joining or seat.state in ("open", "resting")

    # The members' side: each in its thread.

    def _begin(self, seat: _Seat) -> None:
        name = f"fleet-{seat.member.name}"
        seat.thread = threading.Thread(target=self._live, args=(seat,), name=name, daemon=True)
        seat.thread.start()

    def _live(self, seat: _Seat) -> None:
        try:
            while self._is_due(seat):
                self._open(seat)
                while (run := self._next_run(seat)) is not None:
                    self._work(seat, run)
            if seat.is_leaving:
                self._leave(seat)
        except BaseException as error:  # noqa: BLE001 (in a thread it would be lost)
            self._stop(error)

    def _leave(self, seat: _Seat) -> None:
        with self._lock:
            if seat.state == "left out":
                return
            engine, seat.engine, seat.state = seat.engine, None, "left out"
            self._said.append(f"tulu: {seat.member.name} has left.")
            self._notify_all()
        if engine is not None:
            engine.close()

    def _is_due(self, seat: _Seat) -> bool:
        """Wait until a member is to be opened. Return False if it never will be again."""
        with self._lock:
            while not (self._is_closed or seat.is_leaving or seat.state == "left out"):
                left = seat.due - time.monotonic()
                if left <= 0:
                    return True
                self._for_members.wait(left)
            return False

    def _open(self, seat: _Seat) -> None:
        was_open = seat.proven > 0.0
        if self._loads:
            with self._lock:
                seat.state = "opening"
        try:
            engine = seat.member.open()
        except TuluError as error:
            with self._lock:
                self._could_not_open(seat, error)
            return
        with self._lock:
            seat.has_been_tried = True
            if not self._is_closed:
                if self._is_started:
                    again = "answers again" if was_open else "has joined"
                    self._said.append(f"tulu: {seat.member.name} {again}.")
                if not hasattr(self, "info"):
                    self.info = engine.info
                seat.engine, seat.why, seat.strikes = engine, None, 0
                seat.state = "resting" if seat.is_leaving else "open"
                seat.heard = seat.proven = time.monotonic()
                self._notify_all()
                return
        engine.close()

    def _could_not_open(self, seat: _Seat, error: TuluError) -> None:
        is_news = self._loads and self._is_started and str(error) != str(seat.why)
        seat.has_been_tried, seat.why = True, error
        if isinstance(error, EngineError):
            seat.state = "away"
            self._postpone(seat)
            if is_news:
                self._said.append(f"tulu: {error} It is asked again.")
        else:
            seat.state = "left out"
            name, said = seat.member.name, str(error)
            is_named = said.startswith(name)
            self._said.append(
                f"tulu: {said} It is left out." if is_named else f"tulu: {name} is left out: {said}"
            )
        self._notify_all()

    def _are_opened(self, until: float | None) -> bool:
        """Return True if enough members are open for a begin. Raise TuluError if none can be."""
        if self._fatal is not None:
            raise self._fatal
        reasons = [seat.why for seat in self._seats if seat.why is not None]
        finals = [why for why in reasons if not _may_pass(why)]
        if finals and not self._loads:
            raise finals[0]
        if any(not seat.has_been_tried for seat in self._seats):
            return until is not None and time.monotonic() >= until
        if any(seat.state == "open" for seat in self._seats):
            return True
        if finals:
            raise finals[0]
        raise none_answers(reasons, self.noun)

    def _next_run(self, seat: _Seat) -> _Run | None:
        """Wait for something that an idle member can take. Return None if it is not open."""
        while True:
            with self._lock:
                if seat.state != "open" or self._is_closed:
                    return None
                run = self._run
                if run is not None and self._has_something(seat, run):
                    return run
                are_others_idle = run is not None and run.has_ended and not run.in_flight
                if run is None or not (self._first_for(seat, run.suspects) and are_others_idle):
                    looks = run is not None and run.has_ended
                    self._for_members.wait(_LOOK_SECONDS if looks else _WAKE_SECONDS)
                    continue
            self._prove(seat)

    def _has_something(self, seat: _Seat, run: _Run) -> bool:
        if run.ready or self._first_for(seat, run.refused) or self._may_take_suspect(seat, run):
            return True
        return run.has_ended and self._late_elsewhere(seat, run) is not None

    def _prove(self, seat: _Seat) -> None:
        """Ask an idle member whether it lives, where no answer can show that."""
        if seat.member.is_alive is None or seat.member.is_alive():
            with self._lock:
                seat.proven = time.monotonic()
        else:
            self._lose(seat, EngineDied(f"{seat.member.name} does not answer any more."))

    def _work(self, seat: _Seat, run: _Run) -> None:
        """Have a member's engine answer what it pulls, until it pulls nothing more."""
        held: dict[int, _Pending] = {}
        error: TuluError | None = None
        try:
            self._exchange(seat, run, held)
        except EngineError as failure:
            error = failure
        if seat.state == "resting" and not seat.is_leaving:
            error = error or seat.why
        if error is not None:
            self._lose(seat, error)
        with self._lock:
            for pending in held.values():
                self._let_go(seat, pending)

    def _exchange(self, seat: _Seat, run: _Run, held: dict[int, _Pending]) -> None:
        """Give a member's engine what it pulls, and take its answers. Raise what it raises."""
        engine = seat.engine
        if engine is None:
            return

        def pulled() -> Iterator[Any]:
            for number in count():
                pending = self._take(seat, run)
                if pending is None:
                    return
                held[number] = pending
                yield pending.request

        call: Any = engine.batch if run.verb == "batch" else engine.score
        with closing(call(pulled())) as answers:
            for number, answer in answers:
                if not self._took(seat, run, held.pop(number), answer):
                    return
        if held:
            raise EngineDied(f"{seat.member.name} has ended without its answers.")

    def _take(self, seat: _Seat, run: _Run) -> _Pending | None:
        """Return the next request for a member; None ends its call, and lets what it has finish."""
        with self._lock:
            while not run.is_over and seat.state == "open" and not self._is_closed:
                pending = self._next_for(seat, run)
                if pending is not None:
                    self._note_taken(seat, run, pending)
                    return pending
                if run.has_ended or not seat.held or self._must_be_alone(seat, run):
                    return None
                self._for_consumer.notify()
                self._for_members.wait(_WAKE_SECONDS)
            return None

    def _next_for(self, seat: _Seat, run: _Run) -> _Pending | None:
        if self._must_be_alone(seat, run):
            if seat.held:
                return None
            seat.suspect = self._next_for_it(seat, run.suspects)
            if seat.suspect is not None:
                return seat.suspect
        pending = self._next_for_it(seat, run.refused) or _next_of(run.ready)
        if pending is None and run.has_ended and (seat.is_copying or not seat.held):
            pending = self._late_elsewhere(seat, run)
            seat.is_copying |= pending is not None
        return pending

    def _must_be_alone(self, seat: _Seat, run: _Run) -> bool:
        """Return True for a member that has a suspect, or is to take the next one."""
        return seat.suspect is not None or self._may_take_suspect(seat, run)

    def _may_take_suspect(self, seat: _Seat, run: _Run) -> bool:
        return self._first_for(seat, run.suspects) is not None and self._is_proven(seat)

    def _next_for_it(self, seat: _Seat, waiting: deque[_Pending]) -> _Pending | None:
        pending = self._first_for(seat, waiting)
        if pending is not None:
            waiting.remove(pending)
        return pending

    def _first_for(self, seat: _Seat, waiting: deque[_Pending]) -> _Pending | None:
        """Return the first that a member may take: what it has refused goes to others first."""
        while waiting and waiting[0].is_answered:
            waiting.popleft()
        may_take = (one for one in waiting if not one.is_answered and self._may_take(seat, one))
        return next(may_take, None)

    def _may_take(self, seat: _Seat, pending: _Pending) -> bool:
        if seat not in pending.refused_by or not self._is_untried(pending):
            return True
        return time.monotonic() - pending.refused_at >= _COPY_AGAIN_SECONDS

    def _is_untried(self, pending: _Pending) -> bool:
        """Return True if there is a member that could take a request, and has not refused it."""
        return any(one.state == "open" and one not in pending.refused_by for one in self._seats)

    def _is_proven(self, seat: _Seat) -> bool:
        """Return True for a member that is known to have outlived the last death of any."""
        return seat.proven > self._died_at

    def _late_elsewhere(self, seat: _Seat, run: _Run) -> _Pending | None:
        """Return the oldest request that another member has had for longer than usual."""
        if run.ready or run.suspects:
            return None
        usual, now = self._usual_seconds(seat), time.monotonic()
        for pending in run.in_flight:
            waited = now - pending.taken
            if waited < usual:
                return None
            copies = len(pending.holders) - 1
            enough = usual if copies < 1 else _COPY_AGAIN_SECONDS * 2 ** (copies - 1)
            is_suspect = pending.deaths >= _SUSPECT_DEATHS
            if waited >= enough and seat not in pending.holders and not is_suspect:
                return pending
        return None

    def _usual_seconds(self, seat: _Seat) -> float:
        """Return how long this member takes for a request; all members, if it has answered none."""
        if seat.answers:
            return seat.seconds / seat.answers
        answers = sum(one.answers for one in self._seats)
        return sum(one.seconds for one in self._seats) / answers if answers else 1.0

    def _note_taken(self, seat: _Seat, run: _Run, pending: _Pending) -> None:
        pending.taken = seat.heard = time.monotonic()
        pending.holders.add(seat)
        seat.held[pending] = None
        run.in_flight.pop(pending, None)
        run.in_flight[pending] = None
        if self._wants_more(run):
            self._for_consumer.notify()

    def _took(self, seat: _Seat, run: _Run, pending: _Pending, answer: Any) -> bool:
        """Take what a member says of a request. Return False where its call is to be ended."""
        passes = isinstance(answer, TuluError) and (_may_pass(answer) or _is_denial(answer))
        if isinstance(answer, EngineDied) and not self._outlives(seat):
            self._lose(seat, answer)
            return False
        with self._lock:
            goes_on = seat.state in ("open", "resting") and not self._is_closed
            if passes:
                self._let_go(seat, pending)
                if goes_on:
                    seat.strikes += 1
                    is_final = self._refused(seat, pending, answer)
                    is_useless = _is_denial(answer) and not is_final
                    if is_useless or seat.strikes >= _MOST_STRIKES:
                        seat.state, seat.why = "resting", answer
                self._notify_all()
            else:
                now = time.monotonic()
                seat.heard = seat.proven = now
                seat.strikes, seat.pause = 0, self._patience.first_pause
                if not pending.is_answered:
                    self._count(seat, answer)
                    seat.seconds += now - pending.taken
                self._let_go(seat, pending)
                self._answer(pending, answer)
            return goes_on and not run.is_over

    def _lose(self, seat: _Seat, error: TuluError) -> None:
        """Give a member's requests to the others, and close its engine; once, whoever notices."""
        with self._lock:
            engine, seat.engine = seat.engine, None
            if engine is None or self._is_closed:
                return
            held = len(seat.held)
            self._died(seat, error)
            seat.state, seat.why = "away", error
            self._postpone(seat)
            name = seat.member.name
            said = str(error) if name in str(error) else f"{name}: {error}"
            moved = f" Its {plural(held, 'request')} in flight go elsewhere." if held else ""
            again = "" if seat.is_leaving else " It is asked again."
            self._said.append(f"tulu: {said}{moved}{again}")
            self._notify_all()
        engine.close()

    def _outlives(self, seat: _Seat) -> bool:
        """Return True if a member lives, though a request of it says that it is gone."""
        is_closing = self._is_closed or seat.state not in ("open", "resting")
        ask = seat.member.is_alive
        return not is_closing and ask is not None and ask()

    # Both sides, with the lock held.

    def _answer(self, pending: _Pending, answer: Any) -> None:
        if pending.is_answered or pending.run.is_over:
            return
        pending.is_answered = True
        pending.run.unanswered -= 1
        pending.run.in_flight.pop(pending, None)
        pending.run.answers.append((pending.position, answer))
        self._for_consumer.notify()

    def _count(self, seat: _Seat, answer: Any) -> None:
        seat.answers += 1
        seat.errors += isinstance(answer, TuluError)
        seat.tokens += _tokens(answer)

    def _let_go(self, seat: _Seat, pending: _Pending) -> None:
        seat.held.pop(pending, None)
        pending.holders.discard(seat)
        if pending is seat.suspect:
            seat.suspect = None
        if not seat.held:
            seat.is_copying = False

    def _died(self, seat: _Seat, error: TuluError) -> None:
        """Have what a member held wait again, before all else; what it held alone is given up."""
        self._died_at = time.monotonic()
        held, suspect = tuple(seat.held), seat.suspect
        seat.losses += len(held)
        for pending in reversed(held):
            self._let_go(seat, pending)
            pending.deaths += 1
            if pending is suspect:
                died = f"{pending.deaths} {self.noun}s died with it in flight, the last one alone"
                self._answer(pending, EngineError(f"It is given up: {died} with it. {error}"))
            else:
                self._put_back(pending)

    def _refused(self, seat: _Seat, pending: _Pending, error: TuluError) -> bool:
        """Have a request wait again that a living member could not answer for now.

        Return True if it is answered by the error instead: by the third one of as many members, or
        of all that there are. A member that denied it, and does so again after it was opened again,
        answers others: that error is the request's own.
        """
        seat.losses += 1
        pending.refusals += 1
        pending.refused_by.add(seat)
        pending.refused_at = time.monotonic()
        if _is_denial(error):
            is_final = seat in pending.denied_by
            pending.denied_by.add(seat)
        else:
            enough = len(pending.refused_by) >= _MOST_REFUSALS or not self._is_untried(pending)
            is_final = pending.refusals >= _MOST_REFUSALS and enough
        if is_final and not pending.holders:
            final = EngineError(str(error)) if isinstance(error, EngineDied) else error
            self._answer(pending, final)
        else:
            self._put_back(pending)
        return is_final

    def _put_back(self, pending: _Pending) -> None:
        """Have a request wait before all others, unless another member has it too."""
        run = pending.run
        if pending.is_answered or run.is_over or pending.holders:
            return
        run.in_flight.pop(pending, None)
        if pending.deaths >= _SUSPECT_DEATHS:
            waiting = run.suspects
        else:
            waiting = run.refused if pending.refused_by else run.ready
        waiting.appendleft(pending)

    def _postpone(self, seat: _Seat) -> None:
        seat.due = time.monotonic() + seat.pause
        seat.pause = min(2 * seat.pause, self._patience.longest_pause)

    def _stop(self, error: BaseException) -> None:
        with self._lock:
            self._fatal = self._fatal or error
            self._notify_all()

    def _notify_all(self) -> None:
        self._for_members.notify_all()
        self._for_consumer.notify_all()


def _next_of(waiting: deque[_Pending]) -> _Pending | None:
    """Take the first that no late answer has come for."""
    while waiting:
        if not (pending := waiting.popleft()).is_answered:
            return pending
    return None


def _may_pass(error: TuluError) -> bool:
    """Return True if a request that got this error may be answered later, or elsewhere."""
    return isinstance(error, EngineDied) or (isinstance(error, Refused) and error.may_pass)


def _is_denial(error: TuluError) -> bool:
    """Return True if the member that gave a request this error would give it to any other too."""
    return isinstance(error, ModelNotFound) or (isinstance(error, Refused) and error.is_of_server)


def _tokens(answer: Any) -> int:
    """Return the tokens that were generated, or scored, for an answer."""
    if isinstance(answer, Score):
        return len(answer.tokens)
    if isinstance(answer, TuluError):
        return 0
    usage = Usage.total(choice.done.usage for choice in answer)
    return 0 if usage is None else usage.completion_tokens
