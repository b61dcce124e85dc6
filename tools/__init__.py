"""Tools for work on the project; they are not part of the wheel."""
