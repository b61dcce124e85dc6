"""The subcommands: each module here is one, under its own name, with its function of that name."""
