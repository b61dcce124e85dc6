"""The subcommands: each module here is one, under its own name, with its function of that name.

A folder is a group of subcommands, one module each. Its `__init__` holds the help of the group,
and, if the group does something without a verb, the function of its name that does it.

A module may declare, for --help and the manual pages, what the reader needs beside the options:
EXAMPLES, pairs of what it is good for and what is typed; FILES and ENVIRONMENT, pairs of a name
and what it does, which hold for all in a group if its `__init__` has them.
"""

EXAMPLES = (
    ("Ask the model that suits this machine", 'tulu complete "Why is the sky blue?"'),
    ("Read about one command", "man tulu-complete"),
)
