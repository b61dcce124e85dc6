"""The subcommands: each module is one, named like the function in it that declares its options.

A folder is a group of subcommands. Its `__init__` holds the help of the group and, if the group
does something without a verb, the function for that, named like the group.

A module may declare more for --help and the manual pages: EXAMPLES, pairs of a purpose and a
command line; EXIT_CODES, a mapping from a code to its meaning; FILES and ENVIRONMENT, pairs of a
name and its meaning. The FILES and ENVIRONMENT of a group hold for its verbs too.
"""

EXAMPLES = (
    ("Ask the default model for this machine", 'tulu complete "Why is the sky blue?"'),
    ("Read about one command", "man tulu-complete"),
)
