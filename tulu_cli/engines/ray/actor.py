"""What runs in a worker's process: an engine in the thread it belongs to, fed by its driver.

The driver calls `exchange` again and again. Each call brings requests and takes the answers that
have come meanwhile, so the engine goes on while both are on their way. How many requests are to
come next follows from what the engine has pulled: it is kept full by what it takes, and what waits
here is little.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from tulu_cli.core import EngineInfo
from tulu_cli.engines.base import Engine, first_line
from tulu_cli.engines.choose import EngineChoice, load
from tulu_cli.engines.ray.order import Order
from tulu_cli.errors import EngineDied, EngineError, TuluError

Verb = Literal["batch", "score"]
LEAST_WAITING, _MOST_WAITING = 2, 256  # requests that wait here for the engine
BEAT_SECONDS = 2.0  # an exchange takes no longer, whatever the engine does


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The answers since the last exchange, and how many requests are wanted with the next.

    `is_over` is True once every request that was given is answered, and no more will come. With a
    `failure` the engine is gone, and the worker of no use any more.
    """

    answers: Sequence[tuple[int, Any]]
    wanted: int
    is_over: bool
    failure: TuluError | None


class Call:
    """One call of an engine's `batch` or `score`, between the driver's thread and the engine's."""

    def __init__(self, number: int, verb: Verb) -> None:
        self.number = number
        self.verb = verb
        self._changed = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._answers: list[tuple[int, Any]] = []
        self._taken = 0  # since the last exchange
        self._least = LEAST_WAITING
        self._is_fed = self._is_left = self._is_over = False
        self._failure: TuluError | None = None

    def run(self, engine: Engine) -> None:
        """Have the engine answer what comes, in its thread. What it raises is told."""
        asked: Any = engine.batch if self.verb == "batch" else engine.score
        failure: TuluError | None = None
        try:
            with closing(asked(self._requests())) as answers:
                for position, answer in answers:
                    with self._changed:
                        if self._is_left:
                            return
                        is_error = isinstance(answer, TuluError)
                        self._answers.append((position, plain(answer) if is_error else answer))
                        self._changed.notify_all()
        except TuluError as error:
            failure = plain(error)
        except BaseException as error:  # noqa: BLE001 (in this thread it would be lost)
            failure = EngineDied(f"The engine failed: {type(error).__name__}: {first_line(error)}.")
        finally:
            with self._changed:
                self._is_over, self._failure = True, failure
                self._changed.notify_all()

    def leave(self) -> None:
        """End the call: nobody waits for its answers any more."""
        with self._changed:
            self._is_left = True
            self._changed.notify_all()

    def exchange(self, requests: Sequence[Any], *, is_last: bool) -> Exchanged:
        """Take requests in, and return what has happened, as soon as something has."""
        with self._changed:
            self._waiting.extend(requests)
            self._is_fed = self._is_fed or is_last
            self._changed.notify_all()
            self._changed.wait_for(self._has_news, BEAT_SECONDS)
            answers, self._answers = self._answers, []
            # Twice what the engine took while the last exchange was on its way.
            self._least = min(max(LEAST_WAITING, 2 * self._taken), _MOST_WAITING)
            self._taken = 0
            wanted = 0 if self._is_fed else max(0, self._least - len(self._waiting))
            return Exchanged(answers, wanted, self._is_over, self._failure)

    def _has_news(self) -> bool:
        wants = not self._is_fed and 2 * len(self._waiting) <= self._least
        return bool(self._answers) or self._is_over or wants

    def _requests(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_fed or self._is_left)
                if self._is_left or not self._waiting:
                    return
                request = self._waiting.popleft()
                self._taken += 1
                self._changed.notify_all()
            yield request


class WorkerActor:
    """The actor. Its methods run one at a time, in a thread that is not the engine's."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._call: Call | None = None

    def host(self) -> str:
        """Return the name of the machine where the worker has been placed."""
        return os.uname().nodename

    def load(self, order: Order) -> EngineInfo | TuluError:
        """Load the engine, and return what was loaded, or why it could not be."""
        told: queue.SimpleQueue[EngineInfo | TuluError] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(order, told.put), daemon=True).start()
        return told.get()

    def exchange(
        self, number: int, verb: Verb, requests: Sequence[Any], *, is_last: bool
    ) -> Exchanged:
        """Exchange requests for answers, in the call of that number; a new number ends the old."""
        if self._call is None or self._call.number != number:
            if self._call is not None:
                self._call.leave()
            self._call = Call(number, verb)
            self._calls.put(self._call)
        return self._call.exchange(requests, is_last=is_last)

    def _run(self, order: Order, tell: Callable[[EngineInfo | TuluError], None]) -> None:
        try:
            engine = load(EngineChoice(order.engine, ()), order.spec_here())
        except TuluError as error:
            tell(plain(error))
            return
        except BaseException as error:  # noqa: BLE001 (in this thread it would be lost)
            said = f"{type(error).__name__}: {first_line(error)}"
            tell(EngineError(f"The engine cannot be loaded: {said}."))
            return
        tell(engine.info)
        while True:
            self._calls.get().run(engine)


def plain(error: TuluError) -> TuluError:
    """Return an error that can be sent: of the tree in `errors`, with its sentence and no more."""
    kind = next(one for one in type(error).__mro__ if one.__module__ == TuluError.__module__)
    made: TuluError = kind(str(error))
    return made
