"""Markdown that streams: settled rows as the text comes, and a tail that may still change.

Every row follows from the text and the width alone, never from the pieces in which the text came,
so that what a stream leaves in the scrollback is what one piece would have left.
"""
