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
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from tulu_cli.core import Completion, Done, EngineInfo, Request, Score, ScoreRequest, Text
from tulu_cli.engines.assemble import streamed
from tulu_cli.engines.base import Engine, none_answers
from tulu_cli.engines.sharing import (
    Patience,
    Pending,
    Seat,
    Sharing,
    State,
    Verb,
    is_for_another,
    may_pass,
)
from tulu_cli.errors import EngineDied, EngineError, TuluError
from tulu_cli.text import duration, plural

_LOOK_SECONDS = 0.2  # how often an idle member looks for a request that is late elsewhere
_WAKE_SECONDS = 1.0  # how often others look for what they were not told of
_CLOSE_SECONDS = 5.0  # for engines that answer
_OPENING_SECONDS = 1.0  # for members that are being opened: nothing may run while the process ends


@dataclass(frozen=True)
class Member:
    """One of the engines: a name for people, and how to open it.

    `open` runs in the member's thread. Of its errors, EngineError means that it may succeed later;
    any other TuluError, that it never will. The engine's `close` may be called from any thread, and
    ends a `batch` that runs. `is_alive`, called from any thread while a batch runs, returns False
    only where the engine is gone or hangs; None is for an engine that always tells. `is_loading` is
    for an engine that `open` loads, and does not only reach: it returns True, at once, while that
    goes on, and False while there is no place for it.
    """

    name: str
    open: Callable[[], Engine]
    is_alive: Callable[[], bool] | None = None
    is_loading: Callable[[], bool] | None = None


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


@dataclass(eq=False, slots=True, kw_only=True)
class _Seat(Seat):
    """A member's place, with its engine and its thread. `run` is what it last worked on."""

    member: Member
    engine: Engine | None = None
    thread: threading.Thread | None = None
    run: Sharing | None = None
    is_being_asked: bool = False
    has_been_tried: bool = False
    is_leaving: bool = False
    asked: float = 0.0  # when it last was asked whether it lives

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

    @property
    def is_loading(self) -> bool:
        """Return True while opening a member goes on, and does not only wait for a place."""
        loads = self.member.is_loading
        return self.state == "opening" and loads is not None and loads()

    @property
    def is_left(self) -> bool:
        """Return True for a member that answers, or is about to join those that do."""
        is_joining = self.state == "opening" and not self.has_been_tried
        is_waiting = self.member.is_loading is not None and not self.is_loading
        return self.state in ("open", "resting") or (is_joining and not is_waiting)


class Fleet:
    """An engine made of several. `noun` is what people call a member, `say` takes what is said.

    `say` is called by the consumer's thread alone. `info` is that of the member that was open
    first, and there once `open` has returned.

    With `all_must_open`, a member that never can be opened keeps the others from beginning; else it
    is left out.
    """

    info: EngineInfo

    def __init__(
        self,
        members: Iterable[Member],
        *,
        noun: str = "server",
        say: Callable[[str], None] = lambda _line: None,
        patience: Patience | None = None,
        all_must_open: bool = True,
    ) -> None:
        self.noun = noun
        self._all_must_open = all_must_open
        self._say = say
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._for_members = threading.Condition(self._lock)
        self._for_consumer = threading.Condition(self._lock)
        self._seats: list[_Seat] = []
        self._run: Sharing | None = None
        self._said: deque[str] = deque()
        self._fatal: BaseException | None = None
        self._is_begun = self._is_started = self._is_closed = False
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
            seat = _Seat(member=member, pause=self._patience.first_pause)
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
        do not answer yet. Raise the error of a member that it makes no sense to try again, unless
        others can be opened and not all must, and EngineDied if none answers.
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
        now, engines = time.monotonic(), {seat for seat, _ in opened}
        for seat in self._seats:
            if seat.thread is not None and seat.thread is not threading.current_thread():
                until = now + (_CLOSE_SECONDS if seat in engines else _OPENING_SECONDS)
                seat.thread.join(max(0.0, until - time.monotonic()))

    # The consumer's side.

    def _all(self, verb: Verb, requests: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        source = enumerate(requests)
        run = Sharing(verb, self._seats, self._patience, self.noun)
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

    def _fill(self, run: Sharing, source: Iterator[tuple[int, Any]]) -> None:
        """Read the input until enough requests wait for the members, and no further."""
        while run.wants_more:
            item = next(source, None)
            with self._lock:
                if item is None:
                    run.has_ended = True
                    self._for_members.notify_all()
                else:
                    run.add(*item)
                    self._for_members.notify()

    def _next_answer(self, run: Sharing) -> tuple[int, Any] | None:
        """Return the next answer; None where there is something else to do first."""
        with self._lock:
            while True:
                self._watch()
                if self._fatal is not None:
                    raise self._fatal
                if run.answers:
                    return run.answers.popleft()
                if run.is_done or self._said or run.wants_more:
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
            is_due = now - seat.asked >= self._patience.silence and not seat.is_being_asked
            is_silent = seat.is_silent(now, self._patience)
            if is_silent and is_due and seat.member.is_alive is not None:
                seat.is_being_asked = True
                threading.Thread(target=self._ask, args=(seat,), daemon=True).start()
        self._check_any_is_left(now, since)

    def _ask(self, seat: _Seat) -> None:
        """Give a silent member up if it does not live any more."""
        assert seat.member.is_alive is not None, "who is asked can be asked"
        lives = seat.member.is_alive()
        with self._lock:
            seat.is_being_asked, seat.asked = False, time.monotonic()
            silence = seat.asked - seat.heard
        if not lives:
            said = f"{seat.member.name} hangs: it has said nothing for {duration(silence)}."
            self._lose(seat, EngineDied(said))

    def _check_any_is_left(self, now: float, since: float) -> None:
        """Raise EngineDied where none is left for too long; `since` are seconds from the last time.

        A member that is opened again is not left yet, but the time of loading does not count.
        """
        if any(seat.is_left for seat in self._seats):
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
        elif any(seat.is_loading for seat in self._seats):
            self._none_since += since
        elif now - self._none_since >= patience:
            raise EngineDied(
                f"No {self.noun} is left, and none came back within {duration(patience)}. {why}"
            )

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
        if seat.member.is_loading is not None:
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
                seat.engine = engine
                seat.open(time.monotonic())
                if seat.is_leaving:
                    seat.state = "resting"
                self._notify_all()
                return
        engine.close()

    def _could_not_open(self, seat: _Seat, error: TuluError) -> None:
        is_news = seat.member.is_loading is not None and str(error) != str(seat.why)
        seat.has_been_tried = True
        if isinstance(error, EngineError):
            seat.lose(error, time.monotonic(), self._patience)
            if is_news and self._is_started:
                self._said.append(f"tulu: {error} It is asked again.")
        else:
            seat.state, seat.why = "left out", error
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
        finals = [why for why in reasons if not may_pass(why)]
        if finals and self._all_must_open:
            raise finals[0]
        if any(not seat.has_been_tried for seat in self._seats):
            return until is not None and time.monotonic() >= until
        if any(seat.state == "open" for seat in self._seats):
            return True
        if finals:
            raise finals[0]
        raise none_answers(reasons, self.noun)

    def _next_run(self, seat: _Seat) -> Sharing | None:
        """Wait for something that an idle member can take. Return None if it is not open."""
        while True:
            with self._lock:
                if seat.state != "open" or self._is_closed:
                    return None
                run, now = self._run, time.monotonic()
                if run is not None and run.has_something(seat, now):
                    seat.run = run
                    return run
                if run is None or not run.lacks_proof(seat, now):
                    looks = run is not None and run.has_ended
                    self._for_members.wait(_LOOK_SECONDS if looks else _WAKE_SECONDS)
                    continue
            self._prove(seat)

    def _prove(self, seat: _Seat) -> None:
        """Ask an idle member whether it lives, where no answer can show that."""
        if seat.member.is_alive is None or seat.member.is_alive():
            with self._lock:
                seat.proven = time.monotonic()
        else:
            self._lose(seat, EngineDied(f"{seat.member.name} does not answer any more."))

    def _work(self, seat: _Seat, run: Sharing) -> None:
        """Have a member's engine answer what it pulls, until it pulls nothing more."""
        held: dict[int, Pending] = {}
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
                run.let_go(seat, pending)

    def _exchange(self, seat: _Seat, run: Sharing, held: dict[int, Pending]) -> None:
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

    def _take(self, seat: _Seat, run: Sharing) -> Pending | None:
        """Return the next request for a member; None ends its call, and lets what it has finish."""
        with self._lock:
            while not run.is_over and seat.state == "open" and not self._is_closed:
                now = time.monotonic()
                pending = run.take(seat, now)
                if pending is not None:
                    if run.wants_more:
                        self._for_consumer.notify()
                    return pending
                if run.has_ended or not seat.held or run.must_part(seat, now):
                    return None
                self._for_consumer.notify()
                self._for_members.wait(_WAKE_SECONDS)
            return None

    def _took(self, seat: _Seat, run: Sharing, pending: Pending, answer: Any) -> bool:
        """Take what a member says of a request. Return False where its call is to be ended."""
        if isinstance(answer, EngineDied) and not self._outlives(seat):
            self._lose(seat, answer)
            return False
        with self._lock:
            goes_on = seat.state in ("open", "resting") and not self._is_closed
            is_answer = not (isinstance(answer, TuluError) and is_for_another(answer))
            if goes_on or is_answer:
                run.receive(seat, pending, answer, time.monotonic())
            else:
                run.let_go(seat, pending)
            if is_answer:
                self._for_consumer.notify()
            else:
                self._notify_all()
            return goes_on and not run.is_over

    def _lose(self, seat: _Seat, error: TuluError) -> None:
        """Give a member's requests to the others, and close its engine; once, whoever notices."""
        with self._lock:
            engine, seat.engine = seat.engine, None
            if engine is None or self._is_closed:
                return
            held, now = len(seat.held), time.monotonic()
            if seat.run is not None:
                seat.run.die(seat, error, now)
            seat.lose(error, now, self._patience)
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

    def _stop(self, error: BaseException) -> None:
        with self._lock:
            self._fatal = self._fatal or error
            self._notify_all()

    def _notify_all(self) -> None:
        self._for_members.notify_all()
        self._for_consumer.notify_all()
