"""The input of a chat: on a terminal through prompt_toolkit, or line by line."""
