"""Verifiable rewards: whether an answer is right by a rule, and the reward that RLVR gives it."""
