"""Who is given which request: those of one batch, shared among several engines of one model.

Nothing here waits, locks, or looks at a clock. Times are passed in, in seconds of any one clock,
and whoever calls from several threads sees to it that one does at a time.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tulu_cli.core import Score, Usage
from tulu_cli.errors import EngineDied, EngineError, ModelNotFound, TuluError
from tulu_cli.protocol.errors import Refused

State = Literal["opening", "open", "resting", "away", "left out"]
Verb = Literal["batch", "score"]
SUSPECT_DEATHS = 2  # with the same request in flight; the next members are given it with fewer
FEWER = 8  # times, at each further death, down to the request alone
MOST_DEATHS = 4  # until a request is given up: fewer are chance where machines come and go
MOST_REFUSALS = 3  # of a request by as many members, each of whose engines has tried to avoid it
MOST_TRIES = 6  # where those that have not refused it are silent
MOST_REFUSED = 256  # requests that wait for members that have not refused them; then none is read
MOST_STRIKES = 3  # failures of a member in a row, without an answer between them
AGAIN_SECONDS = 60.0  # for a second copy, and for what a member has refused


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
class Pending:
    """A request that has no answer yet. `taken` is when a member last took it.

    `deaths` are of members that had it in flight. For a suspect, `company` is how many requests a
    member may have with it, itself included. Members that live may have refused it, the last one at
    `refused_at`, and `denied_by` has when each of them refused it as it would any other.
    """

    position: int
    request: Any
    deaths: int = 0
    company: int = 0
    refusals: int = 0
    refused_by: "set[Seat]" = field(default_factory=set)
    refused_at: float = 0.0
    denied_by: "dict[Seat, float]" = field(default_factory=dict)
    taken: float = 0.0
    is_answered: bool = False
    holders: "set[Seat]" = field(default_factory=set)


@dataclass(eq=False, slots=True, kw_only=True)
class Seat:
    """A member's place: what it holds, with when it took that, and what is known of it.

    `heard` is when it last was opened, took something or answered; `proven` when it last showed
    that it lives; and `accepted` when it took the last request of those that it has answered, or
    was opened. With a suspect it holds suspects alone, and at most `company` of them.
    """

    pause: float
    state: State = "opening"
    why: TuluError | None = None
    held: dict[Pending, float] = field(default_factory=dict)
    company: int = 0
    is_copying: bool = False
    strikes: int = 0
    due: float = 0.0
    heard: float = 0.0
    proven: float = 0.0
    accepted: float = 0.0
    answers: int = 0
    errors: int = 0
    tokens: int = 0
    losses: int = 0
    seconds: float = 0.0  # from taking a request to its answer, of all its answers together

    def open(self, now: float) -> None:
        """Note that the member has been opened."""
        self.state, self.why, self.strikes = "open", None, 0
        self.heard = self.proven = self.accepted = now

    def lose(self, error: TuluError, now: float, patience: Patience) -> None:
        """Note why the member is away, and when it is to be opened again."""
        self.state, self.why = "away", error
        self.due = now + self.pause
        self.pause = min(2 * self.pause, patience.longest_pause)

    def is_silent(self, now: float, patience: Patience) -> bool:
        """Return True for a member that has had requests for long, and nothing to say of them."""
        return bool(self.held) and now - self.heard >= patience.silence


class Sharing:
    """The requests of one call of `batch` or `score`: what waits, what members have, what is told.

    Of what waits, `refused` goes first, to members that have not refused it. `in_flight` is in the
    order of being taken. `unanswered` counts what was read. `has_ended` says that the input is read
    to its end, and `is_over` that nobody waits for answers any more. `noun` is what people call a
    member.
    """

    def __init__(
        self, verb: Verb, seats: Sequence[Seat], patience: Patience, noun: str = "server"
    ) -> None:
        self.verb = verb
        self.ready: deque[Pending] = deque()
        self.refused: deque[Pending] = deque()
        self.suspects: deque[Pending] = deque()
        self.in_flight: dict[Pending, None] = {}
        self.answers: deque[tuple[int, Any]] = deque()
        self.unanswered = 0
        self.has_ended = self.is_over = False
        self._seats = seats
        self._patience = patience
        self._noun = noun
        self._died_at = 0.0

    @property
    def is_done(self) -> bool:
        return self.has_ended and not self.unanswered and not self.answers

    @property
    def wants_more(self) -> bool:
        """Return True where more is to be read, so that members have enough to take."""
        has_room = len(self.refused) < MOST_REFUSED
        return not self.has_ended and has_room and len(self.ready) < max(16, 2 * len(self._seats))

    def add(self, position: int, request: Any) -> None:
        """Take in what has been read."""
        self.unanswered += 1
        self.ready.append(Pending(position, request))

    # Who is given what.

    def has_something(self, seat: Seat, now: float) -> bool:
        """Return True if there is something for an idle member to take."""
        if self.ready or self._may_take_suspect(seat, now):
            return True
        if self._first(seat, self.refused, now) is not None:
            return True
        return self.has_ended and self._late_elsewhere(seat, now) is not None

    def take(self, seat: Seat, now: float) -> Pending | None:
        """Give a member its next request; None where there is none for it now."""
        pending = self._next(seat, now)
        if pending is not None:
            seat.heard = now
            seat.held[pending] = pending.taken = now
            pending.holders.add(seat)
            self.in_flight.pop(pending, None)
            self.in_flight[pending] = None
        return pending

    def must_part(self, seat: Seat, now: float) -> bool:
        """Return True for a member that has suspects, or is to take the next one."""
        return seat.company > 0 or self._may_take_suspect(seat, now)

    def lacks_proof(self, seat: Seat, now: float) -> bool:
        """Return True where a suspect waits until a member lives, and no answer can show that."""
        are_others_idle = self.has_ended and not self.in_flight
        return are_others_idle and self._first(seat, self.suspects, now) is not None

    def _next(self, seat: Seat, now: float) -> Pending | None:
        if self.must_part(seat, now):
            return self._next_suspect(seat, now)
        pending = self._removed(seat, self.refused, now) or self._removed(seat, self.ready, now)
        if pending is None and self.has_ended and (seat.is_copying or not seat.held):
            pending = self._late_elsewhere(seat, now)
            seat.is_copying |= pending is not None
        return pending

    def _next_suspect(self, seat: Seat, now: float) -> Pending | None:
        """Return a suspect for a member that has no other requests, and not too many of these."""
        number = len(seat.held)
        if number and number >= seat.company:
            return None
        for pending in self.suspects:
            if number < pending.company and self._is_for(seat, pending, now):
                self.suspects.remove(pending)
                seat.company = min(seat.company or pending.company, pending.company)
                return pending
        return None

    def _may_take_suspect(self, seat: Seat, now: float) -> bool:
        """Return True where one waits, and the member is known to have outlived the last death."""
        return seat.proven > self._died_at and self._first(seat, self.suspects, now) is not None

    def _removed(self, seat: Seat, waiting: deque[Pending], now: float) -> Pending | None:
        pending = self._first(seat, waiting, now)
        if pending is not None:
            waiting.remove(pending)
        return pending

    def _first(self, seat: Seat, waiting: deque[Pending], now: float) -> Pending | None:
        """Return the first that a member may take, and that no late answer has come for."""
        while waiting and waiting[0].is_answered:
            waiting.popleft()
        return next((pending for pending in waiting if self._is_for(seat, pending, now)), None)

    def _is_for(self, seat: Seat, pending: Pending, now: float) -> bool:
        return not pending.is_answered and self._may_take(seat, pending, now)

    def _may_take(self, seat: Seat, pending: Pending, now: float) -> bool:
        """Return True unless a member has refused a request, and others are to be asked first.

        What it has denied also waits for what it has besides, or can take, as that tells whose
        fault it was.
        """
        denied_at = pending.denied_by.get(seat)
        if denied_at is not None and seat.accepted <= denied_at and (seat.held or self.ready):
            return False
        is_last = seat not in pending.refused_by or not self._untried(pending)
        return is_last or now - pending.refused_at >= AGAIN_SECONDS

    def _untried(self, pending: Pending) -> list[Seat]:
        """Return the members that could take a request, and have not refused it."""
        seats = self._seats
        return [one for one in seats if one.state == "open" and one not in pending.refused_by]

    def _late_elsewhere(self, seat: Seat, now: float) -> Pending | None:
        """Return the oldest request that another member has had for longer than usual."""
        if self.ready or self.suspects:
            return None
        usual = self._usual_seconds(seat)
        for pending in self.in_flight:
            waited = now - pending.taken
            if waited < usual:
                return None
            copies = len(pending.holders) - 1
            enough = usual if copies < 1 else AGAIN_SECONDS * 2 ** (copies - 1)
            is_suspect = pending.deaths >= SUSPECT_DEATHS
            if waited < enough or seat in pending.holders or is_suspect:
                continue
            if self._may_take(seat, pending, now):
                return pending
        return None

    def _usual_seconds(self, seat: Seat) -> float:
        """Return how long this member takes for a request; all members, if it has answered none."""
        if seat.answers:
            return seat.seconds / seat.answers
        answers = sum(one.answers for one in self._seats)
        return sum(one.seconds for one in self._seats) / answers if answers else 1.0

    # What becomes of it.

    def receive(self, seat: Seat, pending: Pending, answer: Any, now: float) -> None:
        """Take what a member says of a request: its answer, or that another one is to give it.

        A member that is of no use for now becomes "resting".
        """
        taken = seat.held.get(pending, pending.taken)
        self.let_go(seat, pending)
        if isinstance(answer, TuluError) and is_for_another(answer):
            seat.losses += 1
            pending.refusals += 1
            pending.refused_by.add(seat)
            pending.refused_at = now
            if is_denial(answer):
                self._denied(seat, pending, answer, taken, now)
            else:
                self._refused(seat, pending, answer, now)
            return
        seat.heard = seat.proven = now
        seat.accepted = max(seat.accepted, taken)
        self._clear(seat)
        if not pending.is_answered:
            seat.answers += 1
            seat.errors += isinstance(answer, TuluError)
            seat.tokens += _tokens(answer)
            seat.seconds += now - taken
        self._answer(pending, answer)

    def die(self, seat: Seat, error: TuluError, now: float) -> None:
        """Have what a member held wait again, before all else; give up a suspect that was alone.

        One death says little of each of a thousand requests: their company becomes fewer each time.
        """
        self._died_at = now
        held = tuple(seat.held)
        seat.losses += len(held)
        for pending in reversed(held):
            self.let_go(seat, pending)
            pending.deaths += 1
            if pending.company == 1 and pending.deaths >= MOST_DEATHS:
                died = f"{pending.deaths} {self._noun}s died with it in flight, the last one alone"
                self._answer(pending, EngineError(f"It is given up: {died} with it. {error}"))
                continue
            if pending.deaths >= SUSPECT_DEATHS:
                pending.company = max(1, min(len(held), pending.company or len(held)) // FEWER)
            self._put_back(pending)

    def let_go(self, seat: Seat, pending: Pending) -> None:
        """Take a request from a member, for whatever reason."""
        seat.held.pop(pending, None)
        pending.holders.discard(seat)
        if not seat.held:
            seat.company = 0
            seat.is_copying = False

    def _refused(self, seat: Seat, pending: Pending, error: TuluError, now: float) -> None:
        """Have a request wait again that a living member could not answer for now.

        It is given up after enough refusals by several members or by all; and after more where the
        others say nothing. One that answers takes it some time.
        """
        self._strike(seat, error)
        are_all = not self._untried(pending) or len(pending.refused_by) >= MOST_REFUSALS
        is_enough = pending.refusals >= (MOST_REFUSALS if are_all else MOST_TRIES)
        if is_enough and (are_all or self._was_everywhere(pending, now)):
            self._give_up(pending, error, now)
        else:
            self._put_back(pending)

    def _denied(
        self, seat: Seat, pending: Pending, error: TuluError, taken: float, now: float
    ) -> None:
        """Have a request wait again that a member would not answer, and perhaps no other either.

        A member that denies it once more, and has meanwhile answered what it took later, or been
        opened, is sound: the error is the request's own. One that has nothing to show that by rests
        at once.
        """
        denied_at = pending.denied_by.get(seat)
        pending.denied_by[seat] = now
        is_sound = denied_at is not None and seat.accepted > denied_at
        if is_sound:
            self._clear(seat)
        elif seat.accepted <= taken:
            self._strike(seat, error, is_useless=not (seat.held or self.ready))
        if is_sound and self._was_everywhere(pending, now):
            self._give_up(pending, error, now)
        else:
            self._put_back(pending)

    def _was_everywhere(self, pending: Pending, now: float) -> bool:
        """Return True if all have refused a request that could take it, but for silent ones."""
        return all(one.is_silent(now, self._patience) for one in self._untried(pending))

    def _strike(self, seat: Seat, error: TuluError, *, is_useless: bool = False) -> None:
        seat.strikes += 1
        if is_useless or seat.strikes >= MOST_STRIKES:
            seat.state, seat.why = "resting", error

    def _clear(self, seat: Seat) -> None:
        seat.strikes, seat.pause = 0, self._patience.first_pause

    def _give_up(self, pending: Pending, error: TuluError, now: float) -> None:
        """Answer with an error, unless another member has the request too and may still answer."""
        final = EngineError(str(error)) if isinstance(error, EngineDied) else error
        if all(one.is_silent(now, self._patience) for one in pending.holders):
            self._answer(pending, final)

    def _answer(self, pending: Pending, answer: Any) -> None:
        if pending.is_answered or self.is_over:
            return
        pending.is_answered = True
        self.unanswered -= 1
        self.in_flight.pop(pending, None)
        self.answers.append((pending.position, answer))

    def _put_back(self, pending: Pending) -> None:
        """Have a request wait before all others, unless another member has it too."""
        if pending.is_answered or self.is_over or pending.holders:
            return
        self.in_flight.pop(pending, None)
        if pending.deaths >= SUSPECT_DEATHS:
            waiting = self.suspects
        else:
            waiting = self.refused if pending.refused_by else self.ready
        waiting.appendleft(pending)


def may_pass(error: TuluError) -> bool:
    """Return True if a request that got this error may be answered later, or elsewhere."""
    return isinstance(error, EngineDied) or (isinstance(error, Refused) and error.may_pass)


def is_denial(error: TuluError) -> bool:
    """Return True if the member that gave a request this error would give it to any other too."""
    return isinstance(error, ModelNotFound) or (isinstance(error, Refused) and error.is_of_server)


def is_for_another(error: TuluError) -> bool:
    """Return True if another member is to be asked before this error is a request's answer."""
    return may_pass(error) or is_denial(error)


def _tokens(answer: Any) -> int:
    """Return the tokens that were generated, or scored, for an answer."""
    if isinstance(answer, Score):
        return len(answer.tokens)
    if isinstance(answer, TuluError):
        return 0
    usage = Usage.total(choice.done.usage for choice in answer)
    return 0 if usage is None else usage.completion_tokens
