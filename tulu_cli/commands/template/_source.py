"""From the options to a template that can be rendered, and the input to render."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.commands.template._options import RenderOptions, TemplateSource
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.prompt import Tokenizer
from tulu_cli.prompt.builtin import CARD_EOS, Templates, tulu_template, tulu_templates
from tulu_cli.prompt.inspect.writer import PromptWriter

if TYPE_CHECKING:
    from tulu_cli.models import ModelFiles
    from tulu_cli.streams import Streams

BOS_STAND_IN = "<|bos_token|>"


@dataclass(frozen=True)
class Opened:
    """A template with its tokens. `origin` says in words where they come from."""

    vocabulary: Tokenizer | Templates
    origin: str
    template: str | None = None
    named: Mapping[str, str] = field(default_factory=dict)
    files: "ModelFiles | None" = None

    def writer(self, rendering: RenderOptions) -> PromptWriter:
        """Return a writer that renders conversations with these options."""
        return PromptWriter(
            vocabulary=self.vocabulary,
            template=self.template,
            add_generation_prompt=rendering.add_generation_prompt,
            continue_final=rendering.continue_final,
            tools=rendering.tools,
            kwargs={**self.named, **rendering.kwargs},
            allow_special=rendering.allow_special,
            strict_roles=rendering.strict_roles,
        )

    def with_stand_ins(self, named: Mapping[str, str]) -> "Opened":
        """Return a template that came alone, in a file, with these named tokens.

        If none is known, a text that names it stands in for the begin token: with nothing there, a
        template that writes one could not be told from another, and many refuse to run.
        """
        if isinstance(self.vocabulary, Tokenizer) or self.template is None:
            return self
        known = {"bos_token": BOS_STAND_IN, **self.vocabulary.named_tokens, **named, **self.named}
        return replace(self, vocabulary=self.vocabulary.with_tokens(known))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer. Raise UsageError if there is none."""
        if isinstance(self.vocabulary, Tokenizer):
            return self.vocabulary
        raise UsageError("Token ids need a tokenizer: give -m MODEL or --tokenizer DIR.")


def open_source(source: TemplateSource, streams: "Streams | None" = None) -> Opened:
    """Read the template and the tokens. Raise UsageError, ModelNotFound or BadInput."""
    files = _locate(source, streams) if source.model is not None else None
    directory = files.directory if files else Path(source.tokenizer) if source.tokenizer else None
    vocabulary = Tokenizer.load(directory) if directory else tulu_templates()
    if isinstance(vocabulary, Templates):
        vocabulary = vocabulary.with_tokens(_named(source))
    template, where = _template(source, vocabulary)
    origin = f"{where}, the tokens from {directory}" if directory else where
    return Opened(vocabulary, origin, template, _named(source), files)


def open_aloud(source: TemplateSource, streams: "Streams", *, verbose: bool) -> Opened:
    """Read the template and the tokens; with -v, say where the template is from."""
    opened = open_source(source, streams)
    if verbose:
        streams.say(f"tulu: template: {opened.origin}")
    return opened


def _locate(source: TemplateSource, streams: "Streams | None") -> "ModelFiles":
    from tulu_cli.models import locate, no_progress, resolve
    from tulu_cli.render.talk import progress_on
    from tulu_cli.settings import read_settings

    ref = resolve(str(source.model), read_settings({}).aliases)
    if streams is None:
        return locate(ref, offline=source.offline, weights=False, progress=no_progress)
    with progress_on(streams) as progress:
        return locate(ref, offline=source.offline, weights=False, progress=progress)


def _template(source: TemplateSource, vocabulary: Tokenizer | Templates) -> tuple[str | None, str]:
    """Return the template to use in place of the vocabulary's default, and where it is from."""
    chosen = source.template
    if chosen is not None and chosen not in vocabulary.chat_templates:
        return read_template(chosen), chosen
    if isinstance(vocabulary, Templates):
        return None, "the built-in Tülu 3 template"
    if not vocabulary.chat_templates and chosen is None:
        return tulu_template(), "the built-in Tülu 3 template, as the tokenizer has none"
    return chosen, f"the tokenizer's own{f' named {chosen}' if chosen else ''}"


def read_template(name: str) -> str:
    """Return the Jinja source in a file. Raise BadInput."""
    from tulu_cli.disk import read_piped
    from tulu_cli.prompt.builtin import universal_newlines
    from tulu_cli.text import shown

    text = read_piped(Path(name))
    if text is None:
        raise BadInput(f"{shown(name)} is not a file, and no template of the model has that name.")
    return universal_newlines(text)


def _named(source: TemplateSource) -> dict[str, Any]:
    eos = CARD_EOS if source.card else source.eos
    given = {"eos_token": eos, "bos_token": source.bos}
    return {name: text for name, text in given.items() if text is not None}
