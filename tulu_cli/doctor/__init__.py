"""Look for what may be wrong with this computer.

In each module `read_` functions look and return plain values, and `judge_` functions, which are
pure, turn those into findings.
"""
