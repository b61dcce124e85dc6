"""`tulu template render`: render conversations to the text that a model is given."""

from functools import partial
from typing import TYPE_CHECKING

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._flow import RowWork, json_encoder, process
from tulu_cli.commands.template._options import Input, PromptOptions

if TYPE_CHECKING:
    from tulu_cli.commands.template._source import Opened
    from tulu_cli.prompt.inspect.formats import Row
    from tulu_cli.streams import Streams


def render(
    inputs: shared.Inputs = None,
    file: shared.File = None,
    source_format: shared.From = "auto",
    system: shared.System = None,
    model: shared.Model = None,
    template: shared.Template = None,
    tokenizer: shared.TokenizerDirectory = None,
    eos: shared.Eos = None,
    bos: shared.Bos = None,
    card: shared.Card = False,
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
    """Render conversations to the text that a model is given.

    The text is exactly what the engines' token ids spell. Several prompts are separated by a line
    with ---; with --json, each is an object {"text": ...} on a line.
    """
    flags = dict(locals())
    from tulu_cli.streams import Streams

    run(shared.read_prompt_options(flags), Streams.standard())


def run(chosen: PromptOptions, streams: "Streams") -> None:
    """Print the prompts. Raise TuluError; what stands before a bad line is printed."""
    from tulu_cli.commands.template._source import open_aloud

    opened = open_aloud(chosen.source, streams, verbose=chosen.verbose)
    if chosen.source.card and chosen.given == Input():
        streams.write(card_example(opened) + ("\n" if streams.stdout_tty else ""))
        return
    process(
        streams,
        chosen.given,
        partial(make_work, chosen, opened if chosen.jobs == 1 else None),
        between="" if chosen.json_output else "\n---\n",
        jobs=chosen.jobs,
        format_name=chosen.source_format,
    )
    if streams.stdout_tty and not chosen.json_output:
        streams.write("\n")


def make_work(chosen: PromptOptions, opened: "Opened | None" = None) -> RowWork:
    """Return the work on one row: to its prompt as text, or as a line of JSON."""
    from tulu_cli.commands.template._options import with_prompt
    from tulu_cli.commands.template._source import open_source
    from tulu_cli.prompt.inspect.formats import tools_of

    encode = json_encoder().encode
    writer = (opened or open_source(chosen.source)).writer(chosen.rendering)

    def work(row: "Row") -> str:
        row = with_prompt(row, chosen.system)
        text = writer.text(row.messages, tools_of(row))
        return f'{{"text": {encode(text)}}}\n' if chosen.json_output else text

    return work


def card_example(opened: "Opened") -> str:
    """Return the conversation that the model card shows, rendered."""
    from tulu_cli.commands.template._options import RenderOptions
    from tulu_cli.prompt.builtin import CARD_EXAMPLE

    return opened.writer(RenderOptions()).text(CARD_EXAMPLE)
