"""`tulu template parse`: turn a rendered prompt back into messages."""

from typing import TYPE_CHECKING, Any

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._options import TemplateSource
from tulu_cli.errors import BadInput, UsageError

if TYPE_CHECKING:
    from tulu_cli.core import Conversation
    from tulu_cli.prompt.inspect.writer import PromptWriter
    from tulu_cli.streams import Streams


def parse(
    file: shared.PromptFile = None,
    model: shared.Model = None,
    template: shared.Template = None,
    tokenizer: shared.TokenizerDirectory = None,
    eos: shared.Eos = None,
    bos: shared.Bos = None,
    card: shared.Card = False,
    template_arg: shared.TemplateArg = None,
    think: shared.Think = None,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Turn a rendered prompt back into messages, as one JSON array.

    Lines of {"text": ...}, as `render --json` prints them, give one array on each line. A text that
    the template would not have written is an error (exit 65).
    """
    flags = dict(locals())
    from tulu_cli.streams import Streams

    source, kwargs = shared.read_source(flags), _options.read_template_args(template_arg, think)
    run(source, file, Streams.standard(), kwargs=kwargs, verbose=verbose)


def run(
    source: TemplateSource,
    file: str | None,
    streams: "Streams",
    *,
    kwargs: dict[str, Any] | None = None,
    verbose: bool = False,
) -> None:
    """Print the messages. Raise TuluError."""
    from tulu_cli.commands.template._options import RenderOptions, open_binary
    from tulu_cli.commands.template._source import open_aloud
    from tulu_cli.disk import decode_utf8

    if file is None and streams.stdin_tty:
        raise UsageError("There is no prompt: give a file or -, or pipe one in.")
    writer = open_aloud(source, streams, verbose=verbose).writer(RenderOptions(kwargs=kwargs or {}))
    with open_binary(file, streams) as (opened, name):
        first = opened.readline()
        if read_text_line(first) is None:
            text = decode_utf8(first + opened.read(), name)
            messages = parse_text(text, name, writer)
            streams.write(as_json(messages))
            if is_open(messages, text):
                streams.say(
                    "tulu: the last message has no end token of this template, so it is taken as "
                    "open; --eos and --card choose another one."
                )
            return
        for number, line in enumerate((first, *opened), 1):
            where = f"{name}, line {number:,}"
            found = read_text_line(line)
            if found is None and not line.isspace():
                raise BadInput(f'{where} must be an object {{"text": ...}}, as the first line is.')
            if found is not None:
                streams.write(as_json(parse_text(found, where, writer)))


def parse_text(text: str, name: str, writer: "PromptWriter") -> "Conversation":
    """Return the messages of one prompt. Raise BadInput, which names the input."""
    from tulu_cli.prompt.inspect.parse import parse_prompt
    from tulu_cli.prompt.limits import BUDGET

    if not text:
        raise BadInput(f"{name} is empty: a rendered prompt is expected.")
    try:
        with BUDGET:
            return parse_prompt(text, writer.grammar, writer.render)
    except BadInput as error:
        raise type(error)(f"{name}: {error}") from error


def is_open(messages: "Conversation", text: str) -> bool:
    """Return True if the text ends in the middle of the assistant's last message."""
    last = messages[-1]
    return last.role == "assistant" and bool(last.content) and text.endswith(last.content)


def read_text_line(line: bytes) -> str | None:
    """Return the text of a line {"text": ...}, or None; no template begins a prompt like that."""
    import json

    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = value.get("text") if isinstance(value, dict) else None
    return text if isinstance(text, str) else None


def as_json(messages: "Conversation") -> str:
    """Return the messages as one line of JSON."""
    from tulu_cli.commands.template._flow import json_encoder
    from tulu_cli.prompt.inspect.formats import write_messages

    return json_encoder().encode(write_messages(messages)) + "\n"
