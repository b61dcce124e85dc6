"""A warm engine under load: sound requests, hostile ones, and clients that go away.

Eight clients ask one transformers engine of the demo, in float32, in which an answer does not
depend on what is computed beside it. Before, each sound request is sent alone.
"""

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.soak.report import Outcome, Share, spread
from tests.warming import order_of, runtime
from tulu_cli.loading import servers
from tulu_cli.models import locate, no_progress, resolve
from tulu_cli.warm.finder import warm_engines
from tulu_cli.warm.record import Warm
from tulu_cli.warm.unix_http import exchange, get

CLIENTS = 8
CONTEXT = 1024  # tokens
# After it a request hangs. The longest of them takes some seconds where eight run on two cores.
ANSWER_SECONDS = 120.0
SETTLED_SECONDS = 20.0
# The bounds of what may be left after the load, and of the time of /health during it.
MEMORY_MIB = 300
DESCRIPTORS = 4
THREADS = min(32, (os.cpu_count() or 1) + 4)  # asyncio keeps its workers
HEALTH_SECONDS = 0.25
LONG_BODY_BYTES = 2_000_000

State = tuple[int, int, int]
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
QUESTIONS = (
    "Why is the sky blue?",
    "Name a colour.",
    "What is two and two?",
    "Say something about Rome.",
    "Who wrote Faust?",
    "Tell me about the sea, in one sentence, as you would tell a child.",
)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "even": {"type": "boolean"}},
    "required": ["name", "even"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Ask:
    """A request; a stream's answer is put together before it is compared."""

    kind: str
    path: str
    body: Mapping[str, Any]

    @property
    def data(self) -> bytes:
        """Return the body as it goes over the wire."""
        return json.dumps(self.body).encode()


@dataclass(frozen=True)
class Sent:
    """What became of a request."""

    kind: str
    seconds: float
    problem: str | None = None


def short(question: str, **sampling: Any) -> dict[str, Any]:
    """Return the body of a short chat, greedy unless `sampling` says otherwise."""
    messages = [{"role": "user", "content": question}]
    values = {"max_tokens": 8, "temperature": 0.0, "return_token_ids": True}
    return {"messages": messages} | values | sampling


def sound_asks(dice: random.Random) -> list[Ask]:
    """Return the sound requests, of every kind some."""
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA}}
    asks = [Ask("chat", CHAT, short(question)) for question in QUESTIONS]
    asks += [
        Ask("stream", CHAT, short(question, stream=True, max_tokens=12))
        for question in QUESTIONS[:4]
    ]
    asks += [Ask("schema", CHAT, short(q, response_format=form)) for q in QUESTIONS[:2]]
    for question in QUESTIONS[:3]:
        seed = dice.randrange(1000)
        asks.append(Ask("n=3", CHAT, short(question, n=3, seed=seed, temperature=0.8)))
        ids = [dice.randrange(100, 40_000) for _ in range(40)]
        score = {"prompt": ids, "context_tokens": 20, "prompt_logprobs": 1, "max_tokens": 1}
        asks.append(Ask("score", COMPLETION, score))
    return asks


# Each is a client's fault, and has to be answered by 4xx and a sentence.
UNSOUND: Mapping[str, tuple[bytes, ...]] = {
    "no JSON": (b"{", b"", b"[1]", b"[" * 50_000, b'{"messages": [}'),
    "no UTF-8": (b'{"messages": "\xff\xfe"}', b"\x80\x81"),
    "wrong types": tuple(
        json.dumps(body).encode()
        for body in (
            *({"messages": messages} for messages in (7, [], [7])),
            short("x", temperature="warm"),
            short("x", temperature=-1),
            short("x", max_tokens=-1),
            short("x", max_tokens="many"),
            short("x", n=0),
            short("x", stream="yes"),
            short("x", stream=True, stream_options=7),
            short("x", response_format=7),
            short("x", stop=7),
            short("x", model="another"),
        )
    ),
}
# Sound in form, though no engine can compute with them: an answer, or a sentence.
HOSTILE = ({"temperature": 1e-300}, {"temperature": 1e-45}, {"repetition_penalty": 1e-40})

# How often each is sent, for 60 sound ones; two clients send these alone, without much of a pause.
SOUND = 60
NEVER_SOUND = 2
MOST_PAUSE_SECONDS = 1.0
OTHERS_MIX = {
    "no JSON": 3,
    "no UTF-8": 2,
    "wrong types": 5,
    "hostile sampling": 5,
    "too long": 1,
    "hung up in the body": 5,
    "hung up in the answer": 6,
    "cancelled": 5,
}


@dataclass
class Engine:
    """The warm engine, and the answers that it gave to each request alone."""

    warm: Warm
    process: psutil.Process
    alone: dict[bytes, Any] = field(default_factory=dict)

    def post(self, path: str, data: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer. Raise OSError if none comes in time."""
        return exchange(self.warm.socket, "POST", path, data, ANSWER_SECONDS)

    def begin(self, path: str, data: bytes, length: int) -> socket.socket:
        """Send a request whose body is said to be so long, and return the connection."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(self.warm.socket))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode() + data)
        return connection

    def load(self) -> int:
        """Return the number of running requests."""
        return int(json.loads(get(self.warm.socket, "/load")[1])["server_load"])

    def state(self) -> State:
        """Return the descriptors, the threads and the MiB that the server holds."""
        process = self.process
        return process.num_fds(), process.num_threads(), process.memory_info().rss >> 20


@contextmanager
def started() -> Iterator[Engine]:
    """A warm engine in a runtime directory of its own."""
    directory = locate(resolve("demo")).directory
    with runtime():
        servers.start(order_of("transformers", directory, max_model_len=CONTEXT), no_progress)
        (warm,) = warm_engines()
        yield Engine(warm, psutil.Process(warm.state.server))


def soak(share: Share) -> Outcome:
    """Ask alone, then all at once, then alone again."""
    with started() as engine:
        return load(engine, share)


def load(engine: Engine, share: Share) -> Outcome:
    """Put the load on a running engine, and say what it did to it."""
    asks = sound_asks(share.random("asks"))
    sent = [ask_alone(engine, ask) for ask in asks]
    with ThreadPoolExecutor(CLIENTS) as pool:  # what the first crowd makes it keep is not a leak
        sent += pool.map(lambda ask: ask_beside(engine, ask), asks)
    before = engine.state()
    health: list[Sent] = []
    over = threading.Event()
    watch = threading.Thread(target=watch_health, args=(engine, over, health))
    watch.start()
    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = list(pool.map(lambda n: ask_on(engine, share, asks, n), range(CLIENTS)))
    over.set()
    watch.join()
    sent += [one for part in parts for one in part]
    sent += health
    try:
        broken = settle(engine, before)
        after = engine.state()
        sent += [ask_beside(engine, ask, "afterwards: ") for ask in asks]
    except (OSError, psutil.Error) as error:
        broken, after = [f"the server is gone: {error!r}"], (0, 0, 0)
    broken += [f"{one.kind}: {one.problem}" for one in sent if one.problem]
    slow = sum(one.seconds > HEALTH_SECONDS for one in health)
    if slow > len(health) / 20:
        broken.append(f"/health took over {HEALTH_SECONDS} s {slow} times of {len(health)}")
    if (log := (engine.warm.folder / "log").read_text(errors="replace")).count("Traceback"):
        broken.append(f"the log has {log.count('Traceback')} tracebacks: {log[-500:]}")
    return report(sent, before, after, broken)


def report(sent: list[Sent], before: State, after: State, broken: list[str]) -> Outcome:
    """Return the table, a row a kind."""
    outcome = Outcome(["request", "n", "p50 s", "p95 s", "max s", "problems"], broken=broken)
    for kind in sorted({one.kind for one in sent}):
        of_kind = [one for one in sent if one.kind == kind]
        times = spread([one.seconds for one in of_kind])
        problems = sum(one.problem is not None for one in of_kind)
        outcome.rows.append((kind, len(of_kind), *times, problems))
    for when, (descriptors, threads, mebibytes) in (("before", before), ("after", after)):
        held = f"{when}: {descriptors} descriptors, {threads} threads, {mebibytes:,} MiB"
        outcome.rows.append((held, *[""] * 5))
    return outcome


def ask_alone(engine: Engine, ask: Ask) -> Sent:
    """Send a request while nothing else runs, and remember its answer."""
    sent, answer = timed_answer(engine, ask, "alone: ")
    engine.alone[ask.data] = answer
    return sent


def ask_beside(engine: Engine, ask: Ask, when: str = "") -> Sent:
    """Send a request that has an answer already; another one is a problem."""
    sent, answer = timed_answer(engine, ask, when)
    if sent.problem is None and answer != engine.alone[ask.data]:
        return Sent(sent.kind, sent.seconds, f"{answer} is not {engine.alone[ask.data]}")
    return sent


def timed_answer(engine: Engine, ask: Ask, when: str) -> tuple[Sent, Any]:
    """Send a sound request; return what became of it, and what was answered."""
    began = time.monotonic()
    try:
        status, data = engine.post(ask.path, ask.data)
        problem = None if status == 200 else f"status {status}: {data[:200]!r}"
        answer = answer_of(data) if problem is None else None
    except (OSError, ValueError) as error:
        problem, answer = f"no answer: {error!r}", None
    return Sent(f"{when}{ask.kind}", time.monotonic() - began, problem), answer


def answer_of(data: bytes) -> Any:
    """Return what has to be the same each time: token ids and ends, or scores.

    Raise ValueError if a stream ended with an error.
    """
    chunks = [data]
    if data.startswith(b"data: "):
        chunks = [line[6:] for line in data.splitlines() if line.startswith(b"data: {")]
    answer: dict[int, list[Any]] = {}
    for document in map(json.loads, chunks):
        if "error" in document:
            raise ValueError(document["error"]["message"])
        for choice in document["choices"]:
            said = answer.setdefault(choice["index"], [])
            said += choice.get("token_ids") or rounded(choice.get("prompt_logprobs") or [])
            said += [choice["finish_reason"]] if choice["finish_reason"] else []
    return answer


def rounded(tables: list[Any]) -> list[Any]:
    """Return the logprobs of a prompt, equal where they differ by the order of additions alone."""
    return [
        table and {token: round(entry["logprob"], 2) for token, entry in table.items()}
        for table in tables
    ]


def ask_on(engine: Engine, share: Share, asks: list[Ask], number: int) -> list[Sent]:
    """Send one request after the other, as one of the clients, until the time is over."""
    dice = share.random(f"client {number}")
    kinds = OTHERS_MIX if number < NEVER_SOUND else {"sound": SOUND, **OTHERS_MIX}
    sent: list[Sent] = []
    while not share.is_over:
        (kind,) = dice.choices(list(kinds), list(kinds.values()))
        if kind == "sound":
            sent.append(ask_beside(engine, dice.choice(asks)))
            continue
        time.sleep(dice.uniform(0, MOST_PAUSE_SECONDS))
        began = time.monotonic()
        try:
            problem = OTHERS[kind](engine, dice) if kind in OTHERS else refused(engine, dice, kind)
        except OSError as error:
            problem = f"no answer: {error!r}"
        sent.append(Sent(kind, time.monotonic() - began, problem))
    return sent


def refused(engine: Engine, dice: random.Random, kind: str) -> str | None:
    """Send what is not a request."""
    data = dice.choice(UNSOUND[kind])
    status, said = engine.post(CHAT, data)
    return None if 400 <= status < 500 and sentence(said) else f"{data[:80]!r}: {status} {said!r}"


def sentence(said: bytes) -> bool:
    """Return True if an answer says what was wrong."""
    with suppress(ValueError, KeyError, TypeError):
        message = json.loads(said)["error"]["message"]
        return isinstance(message, str) and len(message) > 10
    return False


def too_long(engine: Engine, dice: random.Random) -> str | None:
    """Send a text that no context holds."""
    body = short("word " * (LONG_BODY_BYTES // 5 + dice.randrange(100)))
    status, said = engine.post(CHAT, json.dumps(body).encode())
    return None if status in (400, 413) and sentence(said) else f"{status} {said[:200]!r}"


def hostile_sampling(engine: Engine, dice: random.Random) -> str | None:
    """Send a number that float32 cannot hold; the answer may be the engine's refusal."""
    body = short(dice.choice(QUESTIONS), **{"temperature": 0.7, **dice.choice(HOSTILE)})
    status, said = engine.post(CHAT, json.dumps(body).encode())
    return None if status == 200 or sentence(said) else f"{status} {said[:200]!r}"


def hang_up_in_the_body(engine: Engine, dice: random.Random) -> None:
    """Promise more than is sent, and go."""
    data = json.dumps(short("Hello?")).encode()
    engine.begin(CHAT, data[: dice.randrange(len(data))], len(data)).close()


def hang_up_in_the_answer(engine: Engine, dice: random.Random) -> None:
    """Read the beginning of a long stream, and go."""
    body = short(dice.choice(QUESTIONS), stream=True, max_tokens=400, ignore_eos=True)
    data = json.dumps(body).encode()
    with engine.begin(CHAT, data, len(data)) as connection:
        for _ in range(dice.randint(1, 5)):
            connection.recv(400)


def cancel(engine: Engine, dice: random.Random) -> None:
    """Ask for a long answer as a whole, and go before it comes."""
    data = json.dumps(short(dice.choice(QUESTIONS), max_tokens=400, ignore_eos=True)).encode()
    with engine.begin(CHAT, data, len(data)):
        time.sleep(dice.uniform(0, 0.5))


OTHERS: dict[str, Callable[[Engine, random.Random], str | None]] = {
    "too long": too_long,
    "hostile sampling": hostile_sampling,
    "hung up in the body": hang_up_in_the_body,
    "hung up in the answer": hang_up_in_the_answer,
    "cancelled": cancel,
}


def watch_health(engine: Engine, over: threading.Event, sent: list[Sent]) -> None:
    """Ask again and again whether the engine is well."""
    while not over.wait(0.1):
        began = time.monotonic()
        try:
            status, _ = get(engine.warm.socket, "/health", ANSWER_SECONDS)
            problem = None if status == 200 else f"status {status}"
        except OSError as error:
            problem = f"no answer: {error!r}"
        sent.append(Sent("/health", time.monotonic() - began, problem))


def settle(engine: Engine, before: State) -> list[str]:
    """Wait until the load is gone; return a sentence for each thing that it has left."""
    bounds = [
        old + more for old, more in zip(before, (DESCRIPTORS, THREADS, MEMORY_MIB), strict=True)
    ]
    names = ("descriptors", "threads", "MiB")
    end = time.monotonic() + SETTLED_SECONDS
    while True:
        running, now = engine.load(), engine.state()
        left = [f"{running} requests are said to run"] if running else []
        left += [
            f"the server has {value} {name} after the load, {old} before"
            for name, value, old, bound in zip(names, now, before, bounds, strict=True)
            if value > bound
        ]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.5)
