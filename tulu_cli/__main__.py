"""`tulu`, and `python -m tulu_cli`: the program, or its answer to a shell that completes a word."""

import gc
import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the program. A shell that asks for candidates is answered before Typer is loaded."""
    if kind := os.environ.get("_TULU_CANDIDATES"):
        # Collecting and clearing up would be a fifth of what such a short process takes.
        gc.disable()
        from tulu_cli.cli.completion import answer

        os._exit(answer(kind))
    gc.set_threshold(20_000)  # imports make many objects, and no garbage
    from tulu_cli.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
