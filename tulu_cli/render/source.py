"""Source code in colours, for a terminal."""

from tulu_cli.streams import terminal_safe


def highlight(source: str, width: int) -> str:
    """A Jinja source with escape sequences for its colours, long lines wrapped at `width`.

    What the source itself might command a terminal is made visible first.
    """
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console(force_terminal=True, color_system="standard", width=width)
    syntax = Syntax(
        terminal_safe(source),
        "jinja",
        theme="ansi_dark",
        background_color="default",
        word_wrap=True,
    )
    with console.capture() as capture:
        console.print(syntax, end="")
    return capture.get()
