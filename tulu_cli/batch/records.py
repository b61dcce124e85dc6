"""What is written for a row: our own record, or a line of OpenAI's batch output."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tulu_cli.batch.journal import Key
from tulu_cli.batch.openai import PLAIN
from tulu_cli.batch.rows import BadRow, Row
from tulu_cli.batch.scoring import Scored
from tulu_cli.core import Completion, Message, Score, Usage, json_number
from tulu_cli.errors import ExitCode, TuluError
from tulu_cli.protocol import completions
from tulu_cli.render.jsonl import thought_fields

Answer = list[Completion] | Scored | TuluError
_NO_COLUMNS: Mapping[str, Any] = {}
_CODES = {
    ExitCode.BAD_INPUT: "bad_input",
    ExitCode.USAGE: "bad_parameter",
    ExitCode.PROMPT_TOO_LONG: "prompt_too_long",
    ExitCode.DOES_NOT_FIT: "out_of_memory",
}


class Logprobs(Protocol):
    """Makes what a record says of a choice's tokens, as its format has it.

    OpenAI's has another form for a plain completion than for a chat.
    """

    def __call__(self, choice: Completion, *, is_plain: bool) -> Any: ...


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes the line for an answer. `settings` is the hash that the keys of this run have.

    `logprobs` is there where log-probabilities were asked for.
    """

    settings: int
    model: str
    openai: bool = False
    logprobs: Logprobs | None = None
    clock: Callable[[], float] = time.time

    def line(
        self,
        row: Row | BadRow,
        answer: Answer,
        problem: TuluError | None,
        verdicts: Mapping[str, Any] = _NO_COLUMNS,
    ) -> str:
        """Return the record as one line of JSON.

        `problem` is what is wrong with the answer, `verdicts` what a rule says of it.
        """
        key = Key(row.line, row.digest, self.settings)
        if self.openai:
            made = self._openai_record(row, answer, key)
        else:
            made = record(row, answer, self.logprobs) | dict(verdicts)
        if problem is not None:
            made["error"] = error_object(problem)
        if not self.openai:
            made["key"] = str(key)
        return json.dumps(made, ensure_ascii=False)

    def _openai_record(self, row: Row | BadRow, answer: Answer, key: Key) -> dict[str, Any]:
        """Return a line of OpenAI's batch output, the result of a chat or of a completion."""
        made: dict[str, Any] = {"id": f"tulu-{key}", "custom_id": row.id}
        if isinstance(answer, TuluError):
            return made | {"response": None, "error": None}
        assert isinstance(answer, list), "scores have no place in OpenAI's format"
        is_plain = isinstance(row, Row) and (row.url == PLAIN or isinstance(row.prompt, str))
        around = completions.Envelope(
            f"tulu-{key}", self.model, int(self.clock()), chat=not is_plain
        )
        choices = [openai_choice(one, self.logprobs, around) for one in answer]
        body = around.whole(choices, usage_object(answer))
        response = {"status_code": 200, "request_id": f"tulu-{key}", "body": body}
        return made | {"response": response, "error": None}


def record(row: Row | BadRow, answer: Answer, logprobs: Logprobs | None = None) -> dict[str, Any]:
    """Our own record: the answer, and what else the row held under `columns`.

    It says nothing of times, so that the same rows, answered again, give the same file.
    """
    made: dict[str, Any] = {"line": row.line, "id": row.id}
    if not isinstance(answer, TuluError):
        if isinstance(answer, Scored):
            assert isinstance(row, Row), "only a row that asks something has scores"
            made |= scores_object(row, answer.scores)
        else:
            made |= choice_object(answer[0], logprobs)
            if len(answer) > 1:
                made["choices"] = [choice_object(choice, logprobs) for choice in answer]
        made["usage"] = usage_object(answer)
    if isinstance(row, Row) and row.columns:
        made["columns"] = dict(row.columns)
    return made


def choice_object(choice: Completion, logprobs: Logprobs | None = None) -> dict[str, Any]:
    """Return one answer for JSON, with its seed if it was drawn, and its thought if one came."""
    thought = thought_fields(choice)
    made = {
        **thought,
        "text": choice.text,
        "finish_reason": choice.done.finish_reason,
        "seed": choice.done.seed,
    }
    return made if logprobs is None else {**made, "logprobs": logprobs(choice, is_plain=False)}


def openai_choice(
    choice: Completion, logprobs: Logprobs | None, around: completions.Envelope
) -> dict[str, Any]:
    """Return one answer as OpenAI has it, in a chat or in a plain completion."""
    told = None if logprobs is None else logprobs(choice, is_plain=not around.chat)
    ended = {"finish_reason": choice.done.finish_reason, "logprobs": told}
    made = around.choice(choice.done.index, choice.text, choice.reasoning) | ended
    return made | ({"reasoning_truncated": True} if choice.done.reasoning_truncated else {})


def scores_object(row: Row, scores: Sequence[Score]) -> dict[str, Any]:
    """Return the score of a row's completion; of several each, and the best one's number, from 0.

    The best is named by the sum, by the mean for a token, and by the mean for a character, since
    evaluations differ in what they compare. In a tie it is the first.
    """
    made = [
        score_object(message, score) for message, score in zip(row.completions, scores, strict=True)
    ]
    if not row.several:
        return made[0]
    best = {
        name: max(range(len(made)), key=lambda index: _comparable(made[index][name]))
        for name in ("logprob", "per_token", "per_character")
    }
    return {"best": best, "completions": made}


def score_object(completion: Message, score: Score) -> dict[str, Any]:
    """Return the log-probability of a completion, and of each of its tokens."""
    characters = len(completion.content)
    return {
        "logprob": json_number(score.logprob),
        "per_token": json_number(score.logprob / len(score.tokens)),
        "per_character": json_number(score.logprob / characters) if characters else None,
        "greedy": score.greedy,
        "tokens": len(score.tokens),
        "token_logprobs": [json_number(token.logprob) for token in score.tokens],
    }


def _comparable(value: float | None) -> float:
    return -math.inf if value is None else value


def usage_object(answer: list[Completion] | Scored) -> Mapping[str, Any] | None:
    """Return the token counts: the prompt once, all together; None if nobody has counted."""
    if isinstance(answer, Scored):
        usage: Usage | None = Usage(answer.prompt_tokens, answer.completion_tokens)
    else:
        usage = Usage.total(choice.done.usage for choice in answer)
    # How many tokens were cached differs from run to run.
    return completions.usage_object(usage, with_cached=False) if usage else None


def error_object(error: TuluError) -> dict[str, str]:
    """Return the reason why there is no answer, for JSON."""
    return {"code": _CODES.get(error.exit_code, "engine_error"), "message": str(error)}
