"""What hypothesis draws: texts that stress templates and tokenizers."""

from hypothesis import strategies as st

from tulu_cli.core import Message

# Pieces of control tokens, so that joining them often gives a whole one.
FRAGMENTS = (
    *("<|", "|>", "<", ">", "|", "</", "<s>", "</s>", "s>", "<|im_end|>", "<|im_", "end|>"),
    *("<|end_of_text|>", "<|end_of", "_text|>", "<|end|>", "<|user|>", "user", "[INST]"),
    *(" ", "\n", "\r\n", "\t", "\n\n", "\u3000", "a", "the ", "é", "＜/s＞", "😀", "\ufffd"),
    *("<think>", "</think>", "\U000f0000", "\U000f0001", "{{", "%}"),
)
# Surrogates are no characters, and cannot be in a prompt.
characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=20)
nasty = st.lists(st.one_of(st.sampled_from(FRAGMENTS), texts), max_size=6).map("".join)


def conversations(content: st.SearchStrategy[str]) -> st.SearchStrategy[list[Message]]:
    """Alternating turns, the user first."""
    return st.lists(content, min_size=1, max_size=6).map(
        lambda contents: [
            Message("assistant" if index % 2 else "user", content)
            for index, content in enumerate(contents)
        ]
    )
