"""The line that a user types on: the one part of the program that knows prompt_toolkit."""

from tulu_cli.chat.prompt_line.line import PromptLine

__all__ = ["PromptLine"]
