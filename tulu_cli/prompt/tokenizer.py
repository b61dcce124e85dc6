"""A model's own tokenizer, read from its files with the `tokenizers` library alone."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from tulu_cli.disk import decode_utf8, parse_json, read_bytes, read_json
from tulu_cli.errors import BadInput, ModelNotFound, PromptTooLong
from tulu_cli.prompt.builtin import read_chat_templates
from tulu_cli.prompt.spoofing import ControlTexts

if TYPE_CHECKING:
    import tokenizers
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
# A text of fewer characters a token of the context is not worth reading the vocabulary for.
_SHORT = 16
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

# A token as the files write it: its text, or an object with `content` and flags.
Declared = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Declarations:
    """The tokens that the files beside tokenizer.json declare.

    `named` are bos_token, eos_token and the like, `extra` have no name, `by_id` have an id
    (tokenizer_config.json's added_tokens_decoder; None where that is absent).
    """

    named: Mapping[str, Declared] = field(default_factory=dict)
    extra: tuple[Declared, ...] = ()
    by_id: Mapping[int, Declared] | None = None

    def texts(self) -> dict[str, str]:
        """Return the text of each named token; chat templates read these as variables."""
        return {name: text_of(token) for name, token in self.named.items()}


def read_declarations(directory: Path, config: Mapping[str, Any]) -> Declarations:
    """Merge tokenizer_config.json with special_tokens_map.json. Raise BadInput."""
    by_id = config.get("added_tokens_decoder")
    # transformers reads the older file only where the config does not list the tokens, and
    # lets it win there.
    older = read_json(directory / "special_tokens_map.json") if by_id is None else {}
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
    """Return the special tokens without a name, under their new or old key. Raise BadInput."""
    tokens = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if isinstance(tokens, Mapping):
        return []  # these have names
    if not isinstance(tokens, list):
        raise BadInput("extra_special_tokens in tokenizer_config.json must be a list.")
    return tokens


def tokens_by_id(value: Any) -> dict[int, Declared]:
    """Return the tokens of added_tokens_decoder. Raise BadInput if it is malformed."""
    try:
        return {int(key): token for key, token in value.items()}
    except (AttributeError, ValueError) as error:
        raise BadInput(
            "added_tokens_decoder in tokenizer_config.json must be an object of tokens by id."
        ) from error


def is_named_token(key: str, value: object) -> bool:
    """Return True for `*_token` keys that hold a token (add_bos_token holds a boolean)."""
    return key.endswith("_token") and (
        isinstance(value, str) or (isinstance(value, Mapping) and "content" in value)
    )


def name_order(name: str) -> int:
    """Sorts the standard names first, in transformers' order: new tokens get ids in it."""
    return NAMES.index(name) if name in NAMES else len(NAMES)


def text_of(token: Declared) -> str:
    """Return the text of a declared token. Raise BadInput for any other value."""
    text = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(text, str):
        raise BadInput(f"tokenizer_config.json declares a token without text: {token!r}.")
    return text


def tokens_to_add(
    declared: Declarations, present: Mapping[int, "AddedToken"]
) -> "list[AddedToken]":
    """Return the tokens that transformers adds to the ones in tokenizer.json, in its order.

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
    """Return a declared token as the tokenizers library's value; a bare text gets default flags."""
    from tokenizers import AddedToken

    if isinstance(token, AddedToken):
        return token
    text = text_of(token)
    flags = {"special": True} if special else {}
    if isinstance(token, Mapping):
        flags |= {key: bool(token[key]) for key in FLAGS if key in token}
    return AddedToken(text, **flags)


class Tokenizer:
    """Text to token ids and back, equal to what transformers' AutoTokenizer gives.

    `chat_templates` holds the named templates and `chat_template` the default one, if any.
    `named_tokens` are the tokens that templates read as variables (bos_token, eos_token, ...).
    `response_template` says how an answer is taken apart, where the model has one.
    """

    def __init__(
        self,
        backend: "tokenizers.Tokenizer",
        named_tokens: Mapping[str, str],
        chat_templates: Mapping[str, str],
        response_template: Any = None,
    ) -> None:
        self.backend = backend
        self.named_tokens = named_tokens
        self.chat_templates = chat_templates
        self.response_template = response_template

    @classmethod
    def load(cls, directory: Path) -> "Tokenizer":
        """Read the tokenizer of the model in `directory`. Raise ModelNotFound, BadInput."""
        config = read_json(directory / "tokenizer_config.json")
        declared = read_declarations(directory, config)
        backend = load_backend(directory / "tokenizer.json", declared)
        backend.encode_special_tokens = bool(config.get("split_special_tokens", False))
        templates = read_chat_templates(directory, config)
        return cls(backend, declared.texts(), templates, config.get("response_template"))

    @property
    def chat_template(self) -> str | None:
        """Return the default chat template, as Jinja source."""
        return self.chat_templates.get("default")

    @property
    def bos_token(self) -> str | None:
        """Return the text of the token that begins a sequence."""
        return self.named_tokens.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """Return the text of the token that ends a sequence."""
        return self.named_tokens.get("eos_token")

    @property
    def bos_token_id(self) -> int | None:
        """Return the id of `bos_token`."""
        return self.token_id(self.bos_token)

    @property
    def eos_token_id(self) -> int | None:
        """Return the id of `eos_token`."""
        return self.token_id(self.eos_token)

    @cached_property
    def special_tokens(self) -> Mapping[str, int]:
        """Return the control tokens, text to id: never shown, and never made from a user's text."""
        added = sorted(self.backend.get_added_tokens_decoder().items())
        return {token.content: token_id for token_id, token in added if token.special}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Return the ids of `special_tokens`."""
        return frozenset(self.special_tokens.values())

    @cached_property
    def control_texts(self) -> ControlTexts:
        """Return the texts that are read as control tokens: none if the tokenizer splits them."""
        return ControlTexts(() if self.backend.encode_special_tokens else self.special_tokens)

    @cached_property
    def reads_literally(self) -> bool:
        """Return True if control tokens are found by their exact text.

        False where some are looked for after normalization: then other spellings match too.
        """
        added = self.backend.get_added_tokens_decoder().values()
        return self.backend.normalizer is None or not any(
            token.special and token.normalized for token in added
        )

    @cached_property
    def joins_bytes(self) -> bool:
        """Return True if the decoder makes characters of byte tokens such as <0xF0>."""
        decoder = self.backend.decoder
        return decoder is not None and bool(decoder.decode(["<0x41>", "<0x42>"]) == "AB")

    @cached_property
    def is_byte_level(self) -> bool:
        """Return True if tokens are spelled with a letter for each byte."""
        decoder = self.backend.decoder
        return decoder is not None and bool(decoder.decode(["\u0120A"]) == " A")

    def check_length(self, text: str, max_model_len: int | None) -> None:
        """Raise PromptTooLong if `text` has so many bytes that its tokens cannot fit.

        Making the tokens of a text takes some 200 times its size in memory. What cannot be told
        from the bytes is not refused.
        """
        if max_model_len is None or len(text) < _SHORT * max_model_len or self._bytes is None:
            return
        longest, unknown = self._bytes
        if self.backend.normalizer is not None:
            text = normalize("NFC", text)
        spelled = text.encode("utf-8", "replace").translate(None, unknown)
        least = -(-len(spelled) // longest)
        if least >= max_model_len:
            raise PromptTooLong(
                f"The prompt has at least {least:,} tokens and the context length is "
                f"{max_model_len:,}. Shorten it, or raise --max-model-len where the model allows "
                "it."
            )

    @cached_property
    def _bytes(self) -> tuple[int, bytes] | None:
        """The bytes of the longest token, and those that no token has, which may be dropped.

        None where a text's bytes do not all come to be in tokens, or that is not known.
        """
        backend = self.backend
        added = backend.get_added_tokens_decoder().values()
        if (
            not self.is_byte_level
            or description_of(backend.normalizer).get("type") not in (None, "NFC")
            or type(backend.model).__name__ != "BPE"
            or not keeps_all(description_of(backend.pre_tokenizer))
            or any(token.lstrip or token.rstrip for token in added)
        ):
            return None
        vocabulary = backend.get_vocab(with_added_tokens=False)
        longest = max([*map(len, vocabulary), *(len(token.content.encode()) for token in added)])
        return longest, bytes(byte for byte in range(256) if letter_of(byte) not in vocabulary)

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens, added ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def token_id(self, text: str | None) -> int | None:
        """Return the id of the token with exactly this text."""
        return None if text is None else self.backend.token_to_id(text)

    def token_text(self, token_id: int) -> str | None:
        """Return the vocabulary's spelling of a token; None for an id outside the vocabulary."""
        return self.backend.id_to_token(token_id) if 0 <= token_id < 2**32 else None

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Return the ids of `text`, nothing added; texts of control tokens become those tokens."""
        return encode(self.backend, text, add_special_tokens=False)

    def encode_raw(self, text: str) -> tuple[int, ...]:
        """Return the ids of a plain text, with the BOS or EOS that the tokenizer adds.

        A BOS that the text already spells out is not doubled; transformers would double it.
        """
        ids = encode(self.backend, text, add_special_tokens=True)
        if ids[:2] == (self.bos_token_id,) * 2 and text.startswith(self.bos_token or ""):
            return ids[1:]
        return ids

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of `ids`; ids outside the vocabulary give nothing."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)


def description_of(part: Any) -> Mapping[str, Any]:
    """Return what a tokenizer.json says of a normalizer or pre-tokenizer; nothing if it is None."""
    return {} if part is None else json.loads(part.__getstate__())


def keeps_all(described: Mapping[str, Any]) -> bool:
    """Return True if a pre-tokenizer, as a tokenizer.json has it, drops no part of a text."""
    kind = described.get("type")
    if kind == "Sequence":
        return all(keeps_all(one) for one in described["pretokenizers"])
    return kind in ("ByteLevel", "Digits") or (
        kind == "Split" and described["behavior"] != "Removed"
    )


def letter_of(byte: int) -> str:
    """Return the letter with which a byte-level vocabulary spells a byte.

    It is the byte's own where that is visible in Latin-1, else the next one from U+0100 on
    (bytes_to_unicode in https://github.com/openai/gpt-2/blob/master/src/encoder.py).
    """
    hidden = [*range(33), *range(127, 161), 173]
    return chr(256 + hidden.index(byte) if byte in hidden else byte)


class LateTokenizer(Tokenizer):
    """A tokenizer that is read from its files when it is first used.

    The first use raises what `Tokenizer.load` raises, wherever it is: only for a model that a
    warm engine of ours holds, whose files have been read by it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory  # and nothing else, so that all else is missing

    def __getattr__(self, name: str) -> Any:
        if name not in ("backend", "named_tokens", "chat_templates", "response_template"):
            raise AttributeError(name)
        vars(self).update(vars(Tokenizer.load(self._directory)))
        return vars(self)[name]


def load_backend(path: Path, declared: Declarations) -> "tokenizers.Tokenizer":
    """Read tokenizer.json, drop its truncation and padding, and add the declared tokens."""
    import tokenizers

    data = read_bytes(path)
    if data is None:
        raise ModelNotFound(
            f"{path.parent} has no tokenizer.json. Only models with a fast tokenizer can be used."
        )
    try:
        backend = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises bare Exceptions
        parse_json(decode_utf8(data, str(path)), str(path))
        raise BadInput(f"{path} is not a tokenizer: {error}.") from error
    backend.no_truncation()
    backend.no_padding()
    backend.add_tokens(tokens_to_add(declared, backend.get_added_tokens_decoder()))
    return backend


def encode(
    backend: "tokenizers.Tokenizer", text: str, *, add_special_tokens: bool
) -> tuple[int, ...]:
    """Return the ids of `text`. Raise BadInput if it holds a lone surrogate."""
    return tuple(encoding(backend, text, add_special_tokens=add_special_tokens).ids)


def encoding(
    backend: "tokenizers.Tokenizer", text: str, *, add_special_tokens: bool
) -> "tokenizers.Encoding":
    """Return the ids of `text` with the characters of each. Raise BadInput for a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"Character {error.start} of the text is a lone surrogate "
            f"(U+{ord(text[error.start]):04X}), which has no UTF-8 form. Remove it."
        ) from error
    return backend.encode(text, add_special_tokens=add_special_tokens)
