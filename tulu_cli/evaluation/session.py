"""An evaluation from its tasks to its records: rows, answers through `tulu batch`, grades."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.batch.options import BatchOptions, Verifier, check_model
from tulu_cli.batch.requests import adapter_identity
from tulu_cli.batch.scoring import Scored
from tulu_cli.batch.session import BatchSession, answer_rows, journal, opened, record_writer
from tulu_cli.core import Completion
from tulu_cli.disk import reading, replace_atomically, writing
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.evaluation import record
from tulu_cli.evaluation.code import run_programs
from tulu_cli.evaluation.data import DataFolder, data_folder
from tulu_cli.evaluation.record import RUN, Asked, RunRecord, read_record
from tulu_cli.evaluation.results import card_table
from tulu_cli.evaluation.rows import digest, drawn, prefills, row
from tulu_cli.evaluation.sandbox import folders_of
from tulu_cli.evaluation.task import Item, Task
from tulu_cli.evaluation.workload import workload
from tulu_cli.loading import ChatModel, Prepared, TokenModel, open_engine, prepare
from tulu_cli.loading.servers import bare, recorded_place
from tulu_cli.models.family import family_model
from tulu_cli.render.talk import progress_on
from tulu_cli.text import plural, shown

if TYPE_CHECKING:
    from tulu_cli.engines.base import Engine
    from tulu_cli.loading import LoadOptions
    from tulu_cli.machine import Machine
    from tulu_cli.streams import Streams


@dataclass(frozen=True)
class EvalOptions:
    """What is to be measured, of which model, and where the results go.

    Of the `tasks`, those that are not `named` are left out where their rows are not at hand. `card`
    is the alias of the model whose card's values are shown beside, None for the model's own.
    """

    load: "LoadOptions"
    tasks: Sequence[Task]
    named: frozenset[str]
    folder: Path
    limit: int | None = None
    data: str | None = None
    card: str | None = None
    max_tokens: int | None = None
    samples: int | None = None
    resume: bool = False
    overwrite: bool = False
    run_code: bool = False


def run(chosen: EvalOptions, streams: "Streams", machine: "Machine") -> int:
    """Ask and grade the rows of all tasks. Return how many have no answer. Raise TuluError."""
    with progress_on(streams) as progress:
        data = data_folder(
            chosen.data,
            wanted=[task.name for task in chosen.tasks],
            named=chosen.named,
            offline=chosen.load.offline,
            progress=progress,
        )
    at_hand = _at_hand(chosen, data, streams)
    for check in filter(None, (task.check for task in at_hand)):
        check()
    if chosen.run_code:
        for task in at_hand:
            folders_of(task.packages)
    tasks = [(_adjusted(task, chosen), task.items(data)) for task in at_hand]
    prepared = prepare(chosen.load.without_draft(), machine, streams)
    _refuse_server(prepared, tasks)
    made = _record(chosen, prepared)
    drawn_rows = [drawn(items, chosen.limit, is_macro=task.is_macro) for task, items in tasks]
    all_asked = [
        _asked(task, rows, items, data, made.tasks.get(task.name), chosen)
        for (task, items), rows in zip(tasks, drawn_rows, strict=True)
    ]
    with writing(chosen.folder):
        chosen.folder.mkdir(parents=True, exist_ok=True)
    for (task, items), rows in zip(tasks, drawn_rows, strict=True):
        streams.say(f"tulu: {workload(task, rows, len(items), prepared).line()}")
    errors = 0
    with ExitStack() as stack:
        engines = _Engines(prepared, streams, stack)
        for (task, _), rows, asked in zip(tasks, drawn_rows, all_asked, strict=True):
            made = made.with_task(task.name, asked)
            errors += _answer(chosen, task, rows, made, engines)
            made = made.with_task(task.name, replace(asked, **engines.info()))
            made.write(chosen.folder)
            if task.is_code and chosen.run_code:
                run_programs(chosen.folder, task, streams)
    return errors


def _at_hand(chosen: EvalOptions, data: DataFolder, streams: "Streams") -> list[Task]:
    """Return the tasks whose rows are here, and those that were named. Say what is left out."""
    here = [task for task in chosen.tasks if task.name in chosen.named or data.has(task.name)]
    left = [task.name for task in chosen.tasks if task not in here]
    if not here:
        raise BadInput(f"{str(data.path)!r} has the rows of no task.")
    if left:
        streams.say(f"tulu: left out, as their rows are not here: {', '.join(left)}")
    return here


def _asked(
    task: Task,
    rows: Sequence[Item],
    items: Sequence[Item],
    data: DataFolder,
    before: Asked | None,
    chosen: EvalOptions,
) -> Asked:
    """Return what is asked of a task. Raise UsageError unless a run can go on with it."""
    own = str(data.path) if data.is_own else None
    asked = Asked(len(rows), len(items), task.max_tokens, task.samples, own, digest(items))
    answers = record.answers(chosen.folder, task.name)
    if not (chosen.resume or chosen.overwrite) and answers.exists() and answers.stat().st_size:
        # The journal says so too, but not before the tasks in front are answered.
        raise UsageError(
            f"{str(answers)!r} is not empty: --resume goes on with it, --overwrite replaces it."
        )
    if before is None or not chosen.resume:
        return asked
    folder = repr(str(chosen.folder))
    if asked.rows < before.rows:
        raise UsageError(
            f"{folder} has {before.rows:,} rows of {task.name}: --resume goes on with a --limit of "
            "so many or more."
        )
    is_older = before.rows_sha256 is None
    names = ("max_tokens", "samples", *(("own_data",) if is_older else ()))
    if any(getattr(asked, name) != getattr(before, name) for name in names):
        raise UsageError(
            f"{folder} has answers to {task.name} with another --max-tokens, -n or --data: "
            "--resume needs the same."
        )
    kept = _kept_prompts(chosen.folder, task)
    goes_on = all(map(eq, kept, _prompts(task, rows).splitlines()))
    if not goes_on or (not kept if is_older else before.rows_sha256 != asked.rows_sha256):
        raise UsageError(
            f"{folder} has answers to other rows of {task.name}: --resume needs the same."
        )
    seen = ("engine", "device", "dtype", "versions")
    return replace(asked, **{name: getattr(before, name) for name in seen})


@dataclass
class _Engines:
    """The one engine of a run, loaded when the first row needs it, and kept until the end."""

    prepared: Prepared
    streams: "Streams"
    stack: ExitStack
    engine: "Engine | None" = None

    def opening(self) -> "AbstractContextManager[Engine]":
        """Return a context with the engine in it."""
        if self.engine is None:
            opening = open_engine(self.prepared, self.streams, purpose="server")
            self.engine = self.stack.enter_context(opening)
        return nullcontext(self.engine)

    def info(self) -> Mapping[str, Any]:
        """Return what is to be recorded of the engine, nothing if none was loaded."""
        if self.engine is None:
            return {}
        names = ("engine", "device", "dtype", "versions")
        return {name: getattr(self.engine.info, name) for name in names}


def _adjusted(task: Task, chosen: EvalOptions) -> Task:
    """Return the task with the limits that were asked for in place of its own."""
    if task.scores:
        return task
    task = task if chosen.max_tokens is None else replace(task, max_tokens=chosen.max_tokens)
    if chosen.samples is None or task.samples == 1:
        return task
    return replace(task, samples=chosen.samples)


def _refuse_server(prepared: Prepared, tasks: Sequence[tuple[Task, list[Item]]]) -> None:
    """Raise UsageError for tasks that a server cannot be asked, which makes the prompts itself."""
    if not isinstance(prepared.model, ChatModel):
        return
    for task, items in tasks:
        lacks = "score answers that are given" if task.scores else None
        lacks = "go on with an answer that has begun" if prefills(items) else lacks
        if lacks:
            raise UsageError(
                f"The server at {prepared.model.place} makes the prompt itself, and cannot "
                f"{lacks}, as {task.name} needs: leave it out."
            )


def _record(chosen: EvalOptions, prepared: Prepared) -> RunRecord:
    """Return what is known of the run before it, with the tasks that the folder has already.

    Raise UsageError if those were asked of another model, or of the same in another way.
    """
    from tulu_cli.prompt.builtin import tulu_template

    model = prepared.model
    tokens = model if isinstance(model, TokenModel) else None
    template = tokens.tokenizer.chat_template if tokens else None
    own = family_model(tokens.files.ref.repo or tokens.files.ref.name) if tokens else None
    _, *held = (adapter_identity(tokens) if tokens else None) or [""]
    made = RunRecord(
        model=model.label,
        revision=tokens.spec.revision if tokens else None,
        card=chosen.card or (own.alias if own and card_table(own.alias) else None),
        quantization=tokens.spec.quantization if tokens else None,
        max_model_len=model.max_model_len,
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
        is_tulu_template=template is not None and template.strip() == tulu_template().strip(),
        server=recorded_place(prepared.options.settings, model.place)
        if isinstance(model, ChatModel)
        else None,
        adapter=model.adapter,
        adapter_sha256=next(iter(held), None),
    )
    before = read_record(chosen.folder)
    others = before.tasks.keys() - {task.name for task in chosen.tasks} if before else set()
    if before is None or (chosen.overwrite and not others):
        return made
    server = before.server and bare(before.server)
    if replace(before, card=None, tasks={}, server=server) != replace(made, card=None):
        raise UsageError(
            f"{str(chosen.folder)!r} has results of {before.model}, or of another set-up of it "
            f"({RUN} tells): name another folder with -o."
        )
    return replace(made, tasks=before.tasks)


def _kept_prompts(folder: Path, task: Task) -> list[bytes]:
    """Return the lines of the rows that a folder has of a task, none if it has not."""
    path = record.prompts(folder, task.name)
    with reading(path):
        return path.read_bytes().splitlines() if path.exists() else []


def _prompts(task: Task, rows: Sequence[Item]) -> bytes:
    """Return the file of a task's rows."""
    text = "".join(row(item, task.sampling()) for item in rows)
    return text.encode("utf-8", "surrogatepass")


def _answer(
    chosen: EvalOptions, task: Task, rows: Sequence[Item], made: RunRecord, engines: _Engines
) -> int:
    """Have the rows of a task answered and graded. Return how many have no answer."""
    prepared, streams = engines.prepared, engines.streams
    output = record.answers(chosen.folder, task.name)
    options = BatchOptions(
        load=chosen.load,
        source=str(record.prompts(chosen.folder, task.name)),
        output=str(output),
        input_format="messages",
        resume=chosen.resume,
        # What had an error is tried again.
        retry_errors=chosen.resume and output.exists(),
        overwrite=chosen.overwrite,
        verify=_grader(task),
        score=task.scores,
        no_end=task.scores,
        label=f"{task.name}: ",
        rows=len(rows),
    )
    check_model(options, prepared)
    writer = record_writer(options, prepared)
    with journal(options, writer.settings) as kept:
        # Not before the answers are ours to go on with, and at once, so that what a kill leaves
        # can be shown.
        with writing(options.source):
            replace_atomically(Path(options.source), _prompts(task, rows), mode=0o644)
        made.write(chosen.folder)
        with opened(options.source, streams) as source:
            session = BatchSession(options, writer, kept, streams)
            answer_rows(options, prepared, source, session, engines.opening)
    if session.counts.errors:
        streams.say(
            f"tulu: {plural(session.counts.errors, 'row')} of {task.name} could not be answered: "
            f"their records in {shown(str(output))} say why."
        )
    return session.counts.errors


def _grader(task: Task) -> Verifier:
    """Return what adds a grade to each record; nothing for code, which is run later."""

    def columns(
        row: Mapping[str, Any], answer: "Sequence[Completion] | Scored"
    ) -> Mapping[str, Any]:
        if isinstance(answer, Scored):
            assert task.grade_scores is not None, "only such a task has completions"
            graded = task.grade_scores([one.logprob for one in answer.scores], row["label"])
        elif task.grade is None:
            return {}
        else:
            graded = task.grade(answer[0].text, row["label"])
        beside = {"beside": graded.beside} if graded.beside else {}
        return {"score": graded.score, "extracted": graded.extracted, **beside}

    return Verifier(f"eval:{task.name}", columns)
