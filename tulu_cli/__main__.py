"""`tulu`, and `python -m tulu_cli`: the program, or its answer to a shell that completes a word."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the program. A shell that asks for candidates is answered before Typer is loaded."""
    if kind := os.environ.get("_TULU_CANDIDATES"):
        from tulu_cli.candidates import answer

        sys.exit(answer(kind))
    from tulu_cli.main import main as run

    run()


if __name__ == "__main__":
    main()
