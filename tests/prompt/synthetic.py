"""Small tokenizers of other kinds than byte-level, made in the tests, each with its template."""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

CORPUS = (
    "The quick brown fox jumps over the lazy dog. You are a helpful assistant.",
    "user assistant system tool <s> </s> [INST] <<SYS>> <|im_start|> <|im_end|> <|user|> <|end|>",
    "Wie geht es dir? Μου αρέσει. これはテストです。 def f(x):\n    return x + 1\n\n\n",
)

CHATML = """{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}{{- '\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
TOOLS = (
    "{{ tools | tojson(indent=2) }}"
    "{% for m in messages %}<|im_start|>{{ m | tojson }}\n{% endfor %}"
)
LLAMA2 = """{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' -}}
{%- elif message['role'] == 'assistant' -%}
{{- ' ' + message['content'] | trim + ' ' + eos_token -}}
{%- else -%}{{- raise_exception('Only user and assistant roles are supported!') -}}
{%- endif -%}
{%- endfor -%}
"""
PHI = """{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}
"""
JOINING = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}"

PAD = {"__type": "AddedToken", "content": "<|endoftext|>", "special": True, "normalized": False}


def write(directory: Path, backend: tokenizers.Tokenizer, **config: Any) -> Path:
    """Write a model directory; `config` is what tokenizer_config.json holds."""
    directory.mkdir(parents=True)
    backend.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "config.json").write_text('{"model_type": "llama"}')
    return directory


def byte_level(*special: AddedToken) -> tokenizers.Tokenizer:
    """Byte-level BPE of some 400 tokens."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_special_tokens(list(special))
    return backend


def chatml(directory: Path) -> Path:
    """ChatML with a default system message, and a second template for tools."""
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    backend = byte_level(*(AddedToken(name, normalized=False) for name in names))
    write(directory, backend, eos_token="<|im_end|>", pad_token=PAD)
    (directory / "chat_template.jinja").write_text(CHATML)
    (directory / "additional_chat_templates").mkdir()
    (directory / "additional_chat_templates" / "tool_use.jinja").write_text(TOOLS)
    return directory


def phi(directory: Path) -> Path:
    """Control tokens that swallow the space around them, built from the role by the template."""
    right = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    backend = byte_level(
        *(AddedToken(name, rstrip=True, normalized=False) for name in right),
        AddedToken("<|both|>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("<s>", normalized=False),
    )
    backend.add_tokens([AddedToken("<think>", normalized=False)])  # added, but no control token
    return write(directory, backend, bos_token="<s>", eos_token="<|end|>", chat_template=PHI)


def llama2(directory: Path) -> Path:
    """SentencePiece-like BPE with byte fallback, spaces as U+2581, and a BOS rule."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator(CORPUS, BpeTrainer(vocab_size=300, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += sorted(model["vocab"], key=model["vocab"].get)
    backend = tokenizers.Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(pieces)},
            [tuple(merge) for merge in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in pieces[:3]])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return write(directory, backend, add_bos_token=False, chat_template=LLAMA2, **named)


def unigram(directory: Path) -> Path:
    """A Unigram model behind Metaspace, whose control tokens are pieces of the vocabulary."""
    letters = sorted({char for text in CORPUS for char in text if not char.isspace()} | {"▁"})
    words = ("▁the", "▁user", "▁is", "end", "▁<", "s>", "▁▁")
    vocab = [(name, 0.0) for name in ("<unk>", "<s>", "</s>", "<End>")]
    vocab += [(letter, -6.0) for letter in letters] + [(word, -3.0) for word in words]
    vocab += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first", split=True)]
    )
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>")])
    # Looked for after NFKC, so that other spellings of it match as well.
    backend.add_special_tokens([AddedToken(name, normalized=True) for name in ("</s>", "<End>")])
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return write(directory, backend, chat_template=JOINING, **named)


KINDS = {"chatml": chatml, "phi": phi, "llama2": llama2, "unigram": unigram}
