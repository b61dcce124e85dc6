"""A model that surely thinks: each of its tokens decides the next one, whatever stood before.

It has the embeddings and the tokenizer of the demo model, with <think> and </think> in place of two
tokens that nothing uses and whose embeddings are as good as one, so that they are given those of
two words. It has one layer, which adds nothing, and a head whose row for a token is the embedding
of the token that it comes after. All other logits are 0.
"""

import json
from itertools import pairwise
from pathlib import Path

THOUGHT, ANSWER = "Two and two", "It is four"
_SIGNS = {"<file_sep>": "<think>", "<filename>": "</think>"}
_WORDS = {"<think>": " begin", "</think>": " end"}
# Behind a generation prompt, which ends with a line end; and behind an end of the thought.
_SAID = ("\n", "<think>", " Two", " and", " two", "</think>", "\n\n", "It", " is", " four")
_END = "<|im_end|>"
_EMBEDDINGS = "model.embed_tokens.weight"
_SILENT = ("self_attn.o_proj", "mlp.down_proj")  # what a layer adds comes through these


def write_thinker(demo: Path, template: Path, folder: Path) -> Path:
    """Write the model, with a chat template, to a folder that is made."""
    folder.mkdir(parents=True)
    for name in ("tokenizer_config.json", "generation_config.json"):
        (folder / name).symlink_to(demo / name)
    (folder / "chat_template.jinja").symlink_to(template)
    config = json.loads((demo / "config.json").read_text())
    config |= {"num_hidden_layers": 1, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((demo / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        if token["content"] in _SIGNS:
            token |= {"content": _SIGNS[token["content"]], "special": False}
    vocabulary = tokenizer["model"]["vocab"]
    for old, new in _SIGNS.items():
        vocabulary[new] = vocabulary.pop(old)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    ids = {text: vocabulary[_spelled(text)] for text in (*_SAID, _END, *_WORDS.values())}
    _write_weights(demo, folder, ids)
    return folder


def _spelled(text: str) -> str:
    """The spelling of a token in a byte-level vocabulary."""
    return text.replace(" ", "Ġ").replace("\n", "Ċ")


def _write_weights(demo: Path, folder: Path, ids: dict[str, int]) -> None:
    """Write the weights by hand: the library would load torch, and vLLM could not fork then."""
    data = (demo / "model.safetensors").read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    tensors, kept = {}, bytearray()

    def add(name: str, like: str, content: bytes) -> None:
        offsets = [len(kept), len(kept) + len(content)]
        tensors[name] = header[like] | {"data_offsets": offsets}
        kept.extend(content)

    for name, tensor in header.items():
        if name == "__metadata__" or (".layers." in name and ".layers.0." not in name):
            continue
        first, last = (begin + offset for offset in tensor["data_offsets"])
        content = data[first:last]
        if any(part in name for part in _SILENT):
            content = bytes(len(content))
        if name == "model.norm.weight":
            content = b"\x80\x3f" * (len(content) // 2)  # 1.0 in bfloat16
        if name == _EMBEDDINGS:
            row = len(content) // tensor["shape"][0]
            places = {text: slice(at * row, (at + 1) * row) for text, at in ids.items()}
            changed = bytearray(content)
            for sign, word in _WORDS.items():
                changed[places[sign]] = content[places[word]]
            head = bytearray(len(content))
            for before, after in pairwise((*_SAID, _END)):
                head[places[after]] = changed[places[before]]
            content = bytes(changed)
        add(name, name, content)
    add("lm_head.weight", _EMBEDDINGS, bytes(head))
    text = json.dumps({"__metadata__": {"format": "pt"}} | tensors).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + kept)
