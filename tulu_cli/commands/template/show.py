"""`tulu template show`: print the Jinja source of a chat template."""

from typing import TYPE_CHECKING

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._options import Subject

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

    run(shared.read_subject(flags), Streams.standard(), verbose=verbose)


def run(subject: Subject, streams: "Streams", *, verbose: bool = False) -> None:
    """Print the source. Raises TuluError."""
    from tulu_cli.commands.template._options import Manner
    from tulu_cli.commands.template._subject import open_aloud

    source = open_aloud(subject, streams, verbose=verbose).writer(Manner()).source
    if streams.color:
        from tulu_cli.render.tokens import highlight

        streams.write_styled(highlight(source, streams.width))
    else:
        end = "\n" if streams.stdout_tty and not source.endswith("\n") else ""
        streams.write(source + end)
