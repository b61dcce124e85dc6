"""`tulu template tokens`: turn conversations into the token ids that a model is given."""

from functools import partial
from typing import TYPE_CHECKING, Any

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._flow import RowWork, json_encoder, process
from tulu_cli.commands.template._options import PromptOptions

if TYPE_CHECKING:
    from tulu_cli.commands.template._source import Opened
    from tulu_cli.prompt.inspect.formats import Row
    from tulu_cli.prompt.inspect.tokens import Explained
    from tulu_cli.render.tokens import Look
    from tulu_cli.streams import Streams


def tokens(
    inputs: shared.Inputs = None,
    file: shared.File = None,
    source_format: shared.From = "auto",
    system: shared.System = None,
    model: shared.Model = None,
    template: shared.Template = None,
    tokenizer: shared.TokenizerDirectory = None,
    eos: shared.Eos = None,
    bos: shared.Bos = None,
    add_generation_prompt: shared.AddGenerationPrompt = None,
    continue_final: shared.ContinueFinal = False,
    tools: shared.Tools = None,
    template_arg: shared.TemplateArg = None,
    think: shared.Think = None,
    json_output: shared.Json = False,
    jobs: shared.Jobs = 1,
    allow_special: _options.AllowSpecial = False,
    strict_roles: _options.StrictRoles = False,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Turn conversations into the token ids that a model is given.

    A terminal gets a table: id, text, bytes, role, whether it is a control token, whether it is of
    a thought, and whether it counts in the loss of supervised fine-tuning. A pipe gets the ids of
    each conversation on a line; --json adds the text, the turns, the thoughts and the loss mask.
    """
    flags = dict(locals())
    from tulu_cli.streams import Streams

    run(shared.read_prompt_options(flags), Streams.standard())


def run(chosen: PromptOptions, streams: "Streams") -> None:
    """Print the ids. Raise TuluError; what stands before a bad line is printed."""
    from tulu_cli.commands.template._source import open_aloud
    from tulu_cli.render.tokens import Look

    opened = open_aloud(chosen.source, streams, verbose=chosen.verbose)
    _ = opened.tokenizer  # without one there is nothing to read the input for
    wants_table = streams.stdout_tty and not chosen.json_output
    look = Look(streams.width, streams.color) if wants_table else None
    process(
        streams,
        chosen.given,
        partial(make_work, chosen, opened if chosen.jobs == 1 else None, look),
        between="\n" if look else "",
        jobs=chosen.jobs,
        format_name=chosen.source_format,
        styled=wants_table,
    )


def make_work(chosen: PromptOptions, opened: "Opened | None", look: "Look | None") -> RowWork:
    """Return the work on one row: to a table for a terminal, a line of ids, or one of JSON."""
    from tulu_cli.commands.template._options import with_prompt
    from tulu_cli.commands.template._source import open_source
    from tulu_cli.prompt.inspect.tokens import encode_row, explain_row

    opened = opened or open_source(chosen.source)
    writer, tokenizer = opened.writer(chosen.rendering), opened.tokenizer
    encode = json_encoder().encode

    def work(row: "Row") -> str:
        row = with_prompt(row, chosen.system)
        if look:
            return as_table(explain_row(tokenizer, writer, row), look)
        if chosen.json_output:
            return encode(as_json(explain_row(tokenizer, writer, row))) + "\n"
        return " ".join(map(str, encode_row(tokenizer, writer, row))) + "\n"

    return work


def as_table(explained: "Explained", look: "Look") -> str:
    """Return one conversation as a table for a terminal."""
    from tulu_cli.render.tokens import Cells, token_table

    known = explained.source != "none"
    cells = [
        Cells(
            str(token.id),
            token.piece,
            token.data,
            token.turn.role if token.turn else "",
            token.special,
            token.learnt if known else None,
            token.thought,
        )
        for token in explained.tokens
    ]
    unknown = f"The loss mask is unknown: {explained.reason}\n" if explained.reason else ""
    dropped = "".join(
        f"The template drops the thought of messages[{one.index}].\n"
        for one in explained.thoughts
        if one.start is None
    )
    return token_table(cells, look) + unknown + dropped


def as_json(explained: "Explained") -> dict[str, Any]:
    """Return one conversation as an object, its turns and thoughts by the numbers of their tokens.

    A thought that the template drops has none.
    """
    thoughts = [
        {"message": one.index, "start": one.start, "end": one.end, "learnt": one.learnt}
        for one in explained.thoughts
    ]
    return {
        "text": explained.text,
        "ids": [token.id for token in explained.tokens],
        "mask": explained.mask(),
        "mask_from": explained.source,
        **({"mask_reason": explained.reason} if explained.reason else {}),
        "turns": [
            {"role": role, "start": start, "end": end} for role, start, end in explained.turns()
        ],
        **({"thoughts": thoughts} if thoughts else {}),
    }
