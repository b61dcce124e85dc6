"""The subcommands: each module here is one, under its own name, with its function of that name.

A folder is a group of subcommands, one module each. Its `__init__` holds the help of the group,
and, if the group does something without a verb, the function of its name that does it.
"""
