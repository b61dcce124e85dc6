"""`python -m tulu_cli` is `tulu`."""

from tulu_cli.main import main

if __name__ == "__main__":
    main()
