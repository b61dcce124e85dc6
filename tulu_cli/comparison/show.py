"""Compared answers on stdout: beside each other, below each other, or as JSON."""

import json
import os
from collections.abc import Sequence
from typing import Protocol

from tulu_cli.comparison.answers import Answer, Compared
from tulu_cli.comparison.votes import prompt_object
from tulu_cli.render.side_by_side import fits, side_by_side
from tulu_cli.streams import Streams
from tulu_cli.text import one_line

_LONGEST_PROMPT = 200  # characters of a heading


class View(Protocol):
    """Writes one row with its answers to stdout, under the labels of the models."""

    def show(self, one: Compared, labels: Sequence[str]) -> None: ...


class JsonView:
    """Writes a record for each row, with the whole answer of each model."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def show(self, one: Compared, labels: Sequence[str]) -> None:
        """Write one line."""
        made = {
            "line": one.line,
            "id": one.id,
            "prompt": prompt_object(one),
            "answers": [
                {"model": label, **(answer or _NONE).as_object()}
                for label, answer in zip(labels, one.answers, strict=True)
            ],
        }
        self._streams.write(json.dumps(made, ensure_ascii=False) + "\n")


_NONE = Answer("", error="not answered")


class TextView:
    """Writes answers for a person: in columns where the terminal is wide enough, else as blocks.

    The heading of a row has its prompt, in full if `whole_prompt`. A row that is the only one has
    none.
    """

    def __init__(
        self, streams: Streams, *, is_only: bool = False, whole_prompt: bool = False
    ) -> None:
        self._streams = streams
        self._is_only = is_only
        self._whole_prompt = whole_prompt

    def show(self, one: Compared, labels: Sequence[str]) -> None:
        """Write one row."""
        texts = [
            (heading(label, answer), body(answer))
            for label, answer in zip(labels, one.answers, strict=True)
        ]
        parts = [] if self._is_only else [self._title(one)]
        streams, width = self._streams, self._streams.size().columns
        is_drawn = streams.stdout_tty and os.environ.get("TERM", "dumb") != "dumb"
        if is_drawn and fits(len(texts), width):
            parts.append("\n".join(side_by_side(texts, width, utf8=streams.utf8)))
        else:
            parts += [f"### {head}\n{text}" for head, text in texts]
        streams.write("".join(f"{part.rstrip()}\n\n" for part in parts))

    def _title(self, one: Compared) -> str:
        title = f"## line {one.line:,}" + ("" if one.id is None else f" ({one_line(one.id, 80)})")
        prompt = prompt_text(one)
        if prompt is None:
            return title
        if self._whole_prompt:
            return f"{title}\n{prompt}"
        return f"{title}: {one_line(prompt, _LONGEST_PROMPT)}"


def prompt_text(one: Compared) -> str | None:
    """Return what was asked, for a person: of a conversation each message behind its role."""
    prompt = one.prompt
    if prompt is None or isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt)


def heading(label: str, answer: Answer | None) -> str:
    """Return what stands above an answer: whose it is, and how it ended if not by itself."""
    note = ""
    if answer is None:
        note = " (not answered)"
    elif answer.error is not None:
        note = " (no answer)"
    elif answer.finish_reason == "length":
        note = " (cut by a limit)"
    elif answer.reasoning is not None and not answer.text.strip():
        note = " (a thought alone)"
    return one_line(label) + note


def body(answer: Answer | None) -> str:
    """Return the text of an answer, or why there is none."""
    if answer is None:
        return ""
    return answer.text if answer.error is None else answer.error
