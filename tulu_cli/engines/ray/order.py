"""What the driver sends to a worker: the engine that it is to load, of which files."""

from dataclasses import dataclass, replace

from tulu_cli import __version__
from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.ray.files import Files
from tulu_cli.errors import ModelNotFound, NoEngine
from tulu_cli.prompt import Tokenizer


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to load: `spec` by the engine of that name, from the files of the model.

    `draft` are the files of a draft that is a model, and `adapters` the content hashes of those in
    the spec. `version` is the driver's release of tulu.
    """

    engine: str
    spec: EngineSpec
    version: str
    model: Files
    draft: Files | None = None
    adapters: tuple[str, ...] = ()

    def spec_here(self) -> EngineSpec:
        """Return the spec with this machine's files.

        Raise NoEngine where another release runs, ModelNotFound where files are missing or differ.
        """
        if self.version != __version__:
            raise NoEngine(f"It has tulu {__version__}, and the driver has {self.version}.")
        spec, directory = self.spec, self.model.here()
        for adapter, content in zip(spec.adapters, self.adapters, strict=True):
            where = adapter.directory
            if not where.is_dir():
                raise ModelNotFound(f"The adapter {adapter.name} is not in {where} there.")
            if adapter.content_hash() != content:
                raise ModelNotFound(f"{where} has another adapter there than here.")
        if self.draft is not None and spec.draft is not None:
            spec = replace(spec, draft=replace(spec.draft, directory=self.draft.here()))
        return replace(spec, directory=directory, tokenizer=Tokenizer.load(directory))
