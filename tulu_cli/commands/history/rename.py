"""`tulu history rename`: give a session a name."""

from typing import Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import SessionName, history


def rename(
    session: SessionName,
    name: Annotated[str, typer.Argument(help="The new name.", metavar="NEW-NAME")],
    _debug: _options.Debug = False,
) -> None:
    """Give a session a name, by which commands then find it."""
    from tulu_cli.chat.store.base import checked_name, find_session
    from tulu_cli.streams import Streams

    with history(Streams.standard()) as store:
        store.rename(find_session(store.summaries(), session), checked_name(name))
