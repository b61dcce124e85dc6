"""The models of a comparison answer the rows, one after the other, each as in `tulu batch`."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Literal

from tulu_cli.batch.options import BatchOptions, check_combinations, check_model
from tulu_cli.batch.requests import check_sampling
from tulu_cli.batch.session import BatchSession, answer_rows, journal, opened, record_writer
from tulu_cli.comparison.options import CompareOptions
from tulu_cli.disk import replace_atomically, writing
from tulu_cli.errors import UsageError
from tulu_cli.loading import open_engine, prepare, with_weights
from tulu_cli.request.inputs import well_formed

if TYPE_CHECKING:
    from tulu_cli.loading import Prepared
    from tulu_cli.machine import Machine
    from tulu_cli.streams import Streams


@contextmanager
def workspace(chosen: CompareOptions) -> Iterator[Path]:
    """Yield the folder of the answers: beside the votes, where it stays, or a temporary one."""
    if chosen.blind and chosen.models:
        folder = Path(f"{str(chosen.output).removesuffix('.jsonl')}.answers")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    folder = Path(mkdtemp(prefix="tulu-compare-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows_of(chosen: CompareOptions, folder: Path, streams: "Streams") -> Path | None:
    """Return the file of the rows, written if they are a prompt or in stdin; None for no rows."""
    if chosen.source is None:
        return None
    if chosen.source != "-" and not chosen.is_prompt:
        with opened(chosen.source, streams):
            return Path(chosen.source)  # it can be read, which is said before anything is loaded
    path = folder / "rows.jsonl"
    if chosen.is_prompt:
        text = well_formed(chosen.source, "The prompt")
        if not text.strip():
            raise UsageError("The prompt is empty: give one.")
        data = json.dumps({"prompt": text}).encode() + b"\n"
    else:
        if streams.stdin_tty:
            raise UsageError("There is no input: name a file, or pipe the rows in.")
        data = streams.read()
    with writing(path):
        replace_atomically(path, data)
    return path


def paths(chosen: CompareOptions, folder: Path) -> list[Path]:
    """Return the file of each model's answers."""
    names = (re.sub(r"[^\w.,=+-]+", "-", label)[-80:].lstrip(".-") for label in chosen.models)
    return [folder / f"{number}-{name}.jsonl" for number, name in enumerate(names, 1)]


def answer(
    chosen: CompareOptions, folder: Path, source: Path, streams: "Streams", machine: "Machine"
) -> Iterator[int]:
    """Have each model answer the rows into its file, one after the other; yield its errors.

    What is wrong with one of them is said before the first is loaded.
    """
    asked: list[tuple[str, BatchOptions, Prepared]] = []
    for (label, load), path in zip(chosen.models.items(), paths(chosen, folder), strict=True):
        options = BatchOptions(
            load=load,
            source=str(source),
            output=str(path),
            input_format=chosen.input_format,
            template=chosen.template,
            stop=chosen.stop,
            allow_special=chosen.allow_special,
            strict_roles=chosen.strict_roles,
            variables=chosen.variables,
            resume=chosen.resume,
            # What had an error is tried again.
            retry_errors=chosen.resume and path.exists(),
            overwrite=chosen.overwrite,
        )
        check_combinations(options)
        prepared = prepare(load, machine, streams)
        check_model(options, prepared)
        check_sampling(options, prepared)
        asked.append((label, options, prepared))
    purpose: Literal["one-shot", "server"] = "one-shot" if chosen.is_prompt else "server"
    if not chosen.resume:
        asked = [
            (label, options, with_weights(prepared, streams, purpose=purpose))
            for label, options, prepared in asked
        ]
    # vLLM forks, which is safe only where nothing has computed with threads in this process yet.
    for label, options, prepared in sorted(asked, key=lambda one: one[2].choice.engine != "vllm"):
        beside = prepared.model.adapter
        streams.say(f"tulu: {label} answers{f' with the adapter {beside}' if beside else ''}:")
        writer = record_writer(options, prepared)
        with journal(options, writer.settings) as kept, opened(options.source, streams) as rows:
            session = BatchSession(options, writer, kept, streams, is_kept=chosen.blind)
            opening = partial(open_engine, prepared, streams, purpose=purpose)
            answer_rows(options, prepared, rows, session, opening)
        yield session.counts.errors
