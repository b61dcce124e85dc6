"""Look for what may be wrong with this computer.

`looks.py` goes through all of it. In the other modules `read_` functions look and return plain
values, and `judge_` functions, which are pure, turn those into findings.
"""
