"""`tulu template show`: print the Jinja source of a chat template."""

from typing import TYPE_CHECKING

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._options import TemplateSource

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


def show(
    model: shared.Model = None,
    template: shared.Template = None,
    tokenizer: shared.TokenizerDirectory = None,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Print the Jinja source of a chat template, highlighted on a terminal."""
    flags = dict(locals())
    from tulu_cli.streams import Streams

    run(shared.read_source(flags), Streams.standard(), verbose=verbose)


def run(source: TemplateSource, streams: "Streams", *, verbose: bool = False) -> None:
    """Print the source. Raise TuluError."""
    from tulu_cli.commands.template._options import RenderOptions
    from tulu_cli.commands.template._source import open_aloud

    text = open_aloud(source, streams, verbose=verbose).writer(RenderOptions()).source
    if streams.color:
        from tulu_cli.render.tokens import highlight

        streams.write_styled(highlight(text, streams.width))
    else:
        end = "\n" if streams.stdout_tty and not text.endswith("\n") else ""
        streams.write(text + end)
