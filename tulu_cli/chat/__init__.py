"""Conversations: the tree of their turns, where they are kept, and what they are exported as."""
