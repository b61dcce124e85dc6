"""Slash commands for how the next answer is made: system prompt, sampling, model."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.session import new_stamp
from tulu_cli.chat.slash.arguments import choices
from tulu_cli.chat.slash.row import slash, write_line
from tulu_cli.errors import UsageError
from tulu_cli.models.adapter import NONE
from tulu_cli.prompt.chat import OURS
from tulu_cli.prompt.thinking import SWITCH, check_variables, no_thoughts
from tulu_cli.request.inputs import read_variable
from tulu_cli.settings import KEYS, Key, Setting, Settings, parsed
from tulu_cli.text import listed

# A variable of the chat template, by its name behind this.
_VARIABLE = "template_arg."
# What can change between two answers; the other settings are decided when a model is loaded.
_AT_ONCE = {key.name: key for key in KEYS if key.table == "sampling"}
_DEFAULT = "default"
_SERVERS = "the server's own"
_INDENT = " " * 21


@slash(
    "system",
    "Show the system prompt, or set it: a text, a name, tulu or none.",
    arguments="[TEXT|tulu|none]",
    words=choices(("tulu", "the prompt of Ai2's demo"), ("none", "no system prompt")),
    takes_lines=True,
)
def system(chat: Chat, argument: str) -> None:
    """Set the system prompt of the turns from now on."""
    if argument:
        prompt = chat.model.system_prompt(argument)
        chat.keep(replace(chat.session, system=prompt))
    chat.say(f"System prompt: {chat.session.system or 'none'}")


def _settings(chat: Chat, begun: str) -> Iterable[tuple[str, str]]:
    named = {
        name: f"{key.wanted}; now {chat.settings.get(name, _DEFAULT)}"
        for name, key in _AT_ONCE.items()
    }
    tokens = chat.model.tokens
    sources = tokens.tokenizer.chat_templates.values() if tokens else ()
    known = (SWITCH,) if any(SWITCH in source for source in sources) else ()
    for variable in dict.fromkeys((*known, *chat.variables)):
        shown = spelled(chat.variables[variable]) if variable in chat.variables else _DEFAULT
        named[f"{_VARIABLE}{variable}"] = f"for the chat template; now {shown}"
    return [(name, about) for name, about in named.items() if name.startswith(begun)]


@slash(
    "set",
    "Show the sampling, or set one value of it or of the chat template, at once.",
    arguments="[NAME|template_arg.NAME [VALUE|default]]",
    words=_settings,
)
def set_(chat: Chat, argument: str) -> None:
    """Set a value, validated as the flag of that name is."""
    name, _, text = argument.partition(" ")
    if not name:
        show_sampling(chat)
        return
    variable = name.replace("-", "_", 1) if name.startswith("template-arg.") else name
    if variable.startswith(_VARIABLE):
        set_variable(chat, variable.removeprefix(_VARIABLE), text.strip())
        return
    key = key_named(name)
    if text.strip():
        chat.settings = changed(chat, key, text.strip())
    value = getattr(chat.sampling(), key.name) if key.name != "seed" else chat.settings.get("seed")
    origin = chat.settings.values.get(key.name)
    if origin is None and _is_left_open(chat, key.name):
        value = _SERVERS
    chat.say(f"{key.name} = {value} ({origin.origin if origin else 'default'})")


def set_variable(chat: Chat, name: str, text: str) -> None:
    """Set a variable of the chat template, or show it. Raise UsageError if none reads it."""
    if not name.isidentifier() or name in OURS:
        raise UsageError(f"{_VARIABLE}{name} cannot be set: a template has no such variable.")
    model = chat.model.tokens
    if model is not None and text != _DEFAULT:
        check_variables(model.tokenizer, [name], _VARIABLE)
    if text:
        others = {key: value for key, value in chat.variables.items() if key != name}
        chat.variables = others if text == _DEFAULT else {**others, name: read_variable(text)}
    shown = spelled(chat.variables[name]) if name in chat.variables else _DEFAULT
    chat.say(f"{_VARIABLE}{name} = {shown}")


def spelled(value: Any) -> str:
    """Return a variable's value as it may be typed."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_left_open(chat: Chat, name: str) -> bool:
    """Return True for what a server that makes the prompt decides where nobody sets it."""
    return chat.model.tokens is None and name not in ("max_tokens", "seed")


def key_named(name: str) -> Key:
    """Return a setting that a chat can change. Raise UsageError for any other."""
    plain = name.replace("-", "_")
    if plain in _AT_ONCE:
        return _AT_ONCE[plain]
    if plain in ("model", "system"):
        raise UsageError(f"/{plain} sets the {plain}.")
    if any(key.name == plain for key in KEYS):
        # Every setting has a variable; not every one has a flag.
        raise UsageError(f"{plain} is decided at the start: leave, and set TULU_{plain.upper()}.")
    raise UsageError(f"{name!r} is not a setting of a chat; choose from {', '.join(_AT_ONCE)}.")


def changed(chat: Chat, key: Key, text: str) -> Settings:
    """Return the settings with this value. Raise UsageError if it is not valid."""
    values = {**chat.settings.values}
    values.pop(key.name, None)
    if text != _DEFAULT:
        value = parsed(key.kind, text)
        if problem := key.problem(value):
            raise UsageError(f"{key.name} {problem}")
        if key.name == "max_reasoning_tokens" and not chat.model.thinks:
            raise no_thoughts(key.name)
        values[key.name] = Setting(value, "/set")
    return replace(chat.settings, values=values)


def show_sampling(chat: Chat) -> None:
    """Write each value with its origin."""
    sampling = chat.sampling()
    for name in _AT_ONCE:
        setting = chat.settings.values.get(name)
        value = getattr(sampling, name)
        if setting is None and _is_left_open(chat, name):
            value = _SERVERS
        if name == "seed" and setting is None:
            value = "drawn for each answer"
        if value is None:
            value = "no limit" if name == "max_reasoning_tokens" else "up to the context length"
        advised = name in chat.model.generation_config
        origin = setting.origin if setting else "the model's advice" if advised else "default"
        write_line(chat, f"{name:<20} {value}  ({origin})", _INDENT)
    for name, value in chat.variables.items():
        write_line(chat, f"{_VARIABLE}{name} {spelled(value)}", _INDENT)
    if chat.stop:
        write_line(chat, f"{'stop':<20} {', '.join(map(repr, chat.stop))}  (flag)", _INDENT)


@slash(
    "show",
    "Show the prompt or its token ids as TEXT would be sent, the settings, or the model.",
    arguments="[prompt|ids|settings|model] [TEXT]",
    takes_lines=True,
    words=choices(
        ("prompt", "exactly what the engine is given"),
        ("ids", "the same as token ids"),
        ("settings", "how answers are sampled"),
        ("model", "what answers, and on what"),
    ),
)
def show(chat: Chat, argument: str) -> None:
    """Show the prompt of TEXT, or the one that /retry would send; the settings; or the model."""
    what, _, text = (argument or "prompt").partition(" ")
    if what == "settings":
        show_sampling(chat)
    elif what == "model":
        show_model(chat)
    elif what in ("prompt", "ids"):
        model = chat.model.prepared.token_model()
        ids = next_prompt(chat, text)
        tokens = model.tokenizer.decode(ids, skip_special_tokens=False)
        shown = tokens if what == "prompt" else " ".join(map(str, ids))
        chat.streams.write(shown if shown.endswith("\n") else f"{shown}\n")
    else:
        raise UsageError(f"/show takes prompt, ids, settings or model, not {what!r}.")


def next_prompt(chat: Chat, text: str) -> tuple[int, ...]:
    """Return the token ids of a prompt that ends with `text`, or for "" with the last turn."""
    turn = chat.session.turn
    if text or turn is None:
        asked = chat.session.ask(text, new_stamp())  # beside an answer that came to nothing
        return chat.requests.token_ids(asked.conversation())
    return chat.requests.token_ids(chat.session.conversation(turn.id))


def show_model(chat: Chat) -> None:
    """Write which model is loaded, and what it runs on."""
    info = chat.model.info
    adapters = chat.model.prepared.model.adapters
    facts = {
        "model": info.model,
        "revision": info.revision or "unknown",
        "engine": f"{info.engine} {', '.join(f'{k} {v}' for k, v in info.versions.items())}",
        "device": f"{info.device}, {info.dtype}",
        "context": context(info.max_model_len),
    }
    if adapters:
        facts["adapter"] = f"{chat.model.adapter or NONE}, of {listed(adapters)}"
    for name, value in facts.items():
        write_line(chat, f"{name:<20} {value}", _INDENT)


def context(tokens: int | None) -> str:
    """Return a context length in words; None is one that a server does not tell."""
    return f"{tokens:,} tokens" if tokens else "unknown"


def _models(chat: Chat, begun: str) -> Iterable[tuple[str, str]]:
    return [(name, about) for name, about in chat.model_names if name.startswith(begun)]


@slash(
    "model", "Let another model answer; the conversation stays.", arguments="[NAME]", words=_models
)
def model(chat: Chat, argument: str) -> None:
    """Load another model; the old one is unloaded when the name of the new one is resolved."""
    if argument:
        with chat.interrupts.welcome():
            chat.model.switch(argument)
    chat.say(f"Model: {chat.model.name}, context {context(chat.model.max_model_len)}.")


def _adapters(chat: Chat, begun: str) -> Iterable[tuple[str, str]]:
    names = (*chat.model.prepared.model.adapters, NONE)
    return [(name, "") for name in names if name.startswith(begun)]


@slash(
    "adapter",
    "Show the adapter (LoRA) that answers, or choose another one that is loaded.",
    arguments="[NAME|none]",
    words=_adapters,
)
def adapter(chat: Chat, argument: str) -> None:
    """Switch to a loaded adapter, or to the model alone; nothing is loaded."""
    if argument:
        chat.model.adapt(None if argument == NONE else argument)
    names = chat.model.prepared.model.adapters
    there = f"; there is {listed(names)}" if names else ""
    chat.say(f"Adapter: {chat.model.adapter or NONE}{there}.")
