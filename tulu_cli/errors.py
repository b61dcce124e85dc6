"""Every failure that `tulu` can name, and the exit code that each one has.

    TuluError                 1
    ├── UsageError            2    the command line contradicts itself
    ├── DoesNotFit            3    the model, or the request, does not fit in memory
    ├── NoEngine              4    no engine can run here
    ├── ModelNotFound         5    no such model, or not cached while offline
    ├── PromptTooLong         6    the prompt leaves no room in the context
    ├── EngineError           1    the engine refused or failed
    │   └── EngineDied        7    the engine's process or server is gone
    ├── StoppedByLength       8    the answer was cut and the user asked to be told
    ├── ConstraintNotMet      1    the answer does not satisfy --schema, --regex or --choice
    ├── HistoryError          1    the history of chats cannot be read or written
    ├── BadInput             65    data that cannot be read: says where
    │   └── TemplateExhausted 65   a chat template has used up its time or memory
    └── ReaderGone          141    nobody reads the pipe that a file was to be

A message is one sentence or two: what happened, and what to do next. `main` is the only place
that prints one. 65 is EX_DATAERR of sysexits.h; 130 and 141 are 128 + SIGINT and 128 + SIGPIPE.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes that scripts may rely on, each with what it means."""

    OK = 0, "It did what was asked."
    FAILURE = 1, "It failed; stderr says why."
    USAGE = 2, "The command line is not understood or contradicts itself."
    DOES_NOT_FIT = 3, "The model or the request does not fit in memory."
    NO_ENGINE = 4, "No engine that is installed can run here."
    MODEL_NOT_FOUND = 5, "There is no such model, or it is not cached and we are offline."
    PROMPT_TOO_LONG = 6, "The prompt leaves no room in the context."
    ENGINE_DIED = 7, "The process or server of the engine died or does not answer."
    STOPPED_BY_LENGTH = 8, "The answer was cut by a limit."
    BAD_INPUT = 65, "The input data cannot be read; stderr says where."
    INTERRUPTED = 130, "Interrupted by Ctrl-C; what there was of the answer is on stdout."
    BROKEN_PIPE = 141, "The reader of stdout went away."

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        """Make an int that knows its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class TuluError(Exception):
    """The root of the tree: str() is the sentence that the user reads."""

    exit_code = ExitCode.FAILURE


class UsageError(TuluError):
    """Options that cannot go together, or a value that no option takes."""

    exit_code = ExitCode.USAGE


class DoesNotFit(TuluError):
    """There is not enough memory, on the GPU or off it."""

    exit_code = ExitCode.DOES_NOT_FIT


class NoEngine(TuluError):
    """No engine is installed that can run this model on this machine."""

    exit_code = ExitCode.NO_ENGINE


class ModelNotFound(TuluError):
    """The name means nothing, or its files are not here and may not be fetched."""

    exit_code = ExitCode.MODEL_NOT_FOUND


class PromptTooLong(TuluError):
    """The prompt does not fit in the context length."""

    exit_code = ExitCode.PROMPT_TOO_LONG


class EngineError(TuluError):
    """The engine refused the request or failed in the middle of it."""


class EngineDied(EngineError):
    """The process or server behind the engine no longer answers."""

    exit_code = ExitCode.ENGINE_DIED


class StoppedByLength(TuluError):
    """The answer ended at the token limit, not where the model would have ended it."""

    exit_code = ExitCode.STOPPED_BY_LENGTH


class ConstraintNotMet(TuluError):
    """The answer does not satisfy the structure that was asked for."""


class HistoryError(TuluError):
    """The history cannot be opened, read or written: a disk, its permissions, or a damaged file."""


class BadInput(TuluError):
    """Input data that cannot be used; the message names the line, column or byte offset."""

    exit_code = ExitCode.BAD_INPUT


class TemplateExhausted(BadInput):
    """A chat template has used up its time or memory: it does not refuse what it was given."""


class ReaderGone(TuluError):
    """The pipe that is written to, other than stdout, has no reader any more."""

    exit_code = ExitCode.BROKEN_PIPE
