"""Which tokens a model's files declare, merged in the order in which transformers merges them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.errors import BadInput
from tulu_cli.prompt.files import read_json_object

if TYPE_CHECKING:
    from tokenizers import AddedToken

NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

# A token as the files write it: its text, or an object with `content` and flags.
Declared = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Declarations:
    """What the files beside tokenizer.json say of tokens.

    `named` are bos_token, eos_token and the like, `extra` have no name, `by_id` have an id
    (tokenizer_config.json's added_tokens_decoder; None where that is absent).
    """

    named: Mapping[str, Declared] = field(default_factory=dict)
    extra: tuple[Declared, ...] = ()
    by_id: Mapping[int, Declared] | None = None

    def texts(self) -> dict[str, str]:
        """The text of each named token: what a chat template sees as variables."""
        return {name: text_of(token) for name, token in self.named.items()}


def read_declarations(directory: Path, config: Mapping[str, Any]) -> Declarations:
    """Merge tokenizer_config.json with special_tokens_map.json; raises BadInput."""
    by_id = config.get("added_tokens_decoder")
    # transformers reads the older file only where the config does not list the tokens, and
    # lets it win there.
    older = read_json_object(directory / "special_tokens_map.json") if by_id is None else {}
    extra = [*extra_tokens(config), *extra_tokens(older)]
    merged = {**config, **older}
    named = {key: value for key, value in merged.items() if is_named_token(key, value)}
    if isinstance(merged.get("extra_special_tokens"), Mapping):
        named |= merged["extra_special_tokens"]
    return Declarations(
        named={name: named[name] for name in sorted(named, key=name_order)},
        extra=tuple(extra),
        by_id=None if by_id is None else tokens_by_id(by_id),
    )


def extra_tokens(config: Mapping[str, Any]) -> list[Declared]:
    """The special tokens without a name, under their new or their old key; raises BadInput."""
    tokens = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if isinstance(tokens, Mapping):
        return []  # these have names
    if not isinstance(tokens, list):
        raise BadInput("extra_special_tokens in tokenizer_config.json must be a list.")
    return tokens


def tokens_by_id(value: Any) -> dict[int, Declared]:
    """The tokens of added_tokens_decoder; raises BadInput."""
    try:
        return {int(key): token for key, token in value.items()}
    except (AttributeError, ValueError) as error:
        raise BadInput(
            "added_tokens_decoder in tokenizer_config.json must be an object of tokens by id."
        ) from error


def is_named_token(key: str, value: object) -> bool:
    """True for `*_token` keys that hold a token (add_bos_token holds a boolean)."""
    return key.endswith("_token") and (
        isinstance(value, str) or (isinstance(value, Mapping) and "content" in value)
    )


def name_order(name: str) -> int:
    """Sorts the standard names first, in transformers' order: new tokens get ids in it."""
    return NAMES.index(name) if name in NAMES else len(NAMES)


def text_of(token: Declared) -> str:
    """The text of a declared token; raises BadInput for any other value."""
    text = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(text, str):
        raise BadInput(f"tokenizer_config.json declares a token without text: {token!r}.")
    return text


def tokens_to_add(
    declared: Declarations, present: Mapping[int, "AddedToken"]
) -> "list[AddedToken]":
    """The tokens that transformers adds to the ones in tokenizer.json, in its order.

    A token that is `present` is given again, so that the flags of tokenizer_config.json win.
    """
    by_id = present if declared.by_id is None else declared.by_id
    tokens = [added_token(token) for _, token in sorted(by_id.items())]
    known = {token.content for token in present.values()} | {token.content for token in tokens}
    new = new_tokens((*declared.named.values(), *declared.extra), known)
    tokens.extend(added_token(token, special=True) for token in new)
    named = set(declared.texts().values())
    for added in tokens:
        added.special = added.special or added.content in named
    return tokens


def new_tokens(tokens: Iterable[Declared], known: set[str]) -> list[Declared]:
    """Those whose text is not `known`, each once."""
    return list({text_of(token): token for token in tokens if text_of(token) not in known}.values())


def added_token(token: "Declared | AddedToken", special: bool = False) -> "AddedToken":
    """The tokenizers library's value for a declared token; a bare text gets the default flags."""
    from tokenizers import AddedToken

    if isinstance(token, AddedToken):
        return token
    text = text_of(token)
    flags = {"special": True} if special else {}
    if isinstance(token, Mapping):
        flags |= {key: bool(token[key]) for key in FLAGS if key in token}
    return AddedToken(text, **flags)
