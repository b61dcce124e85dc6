"""A request as rows of the decoder: one for each choice."""

from dataclasses import dataclass
from typing import Any

from tulu_cli.core import Constraint, Request
from tulu_cli.engines.assemble import ChoiceAssembler
from tulu_cli.engines.decoding.constraint import ConstraintMask, tokenizer_for
from tulu_cli.engines.decoding.loop import Row
from tulu_cli.engines.decoding.sampler import Sampler
from tulu_cli.engines.guidance import grammar
from tulu_cli.prompt import Tokenizer


@dataclass
class RowMaker:
    """Makes rows for `model`; keeps what structured answers need, which is slow to make."""

    tokenizer: Tokenizer
    model: Any

    def __post_init__(self) -> None:
        self._guidance: dict[tuple[int, ...], Any] = {}

    def make(self, position: int, request: Request, started: float, cached: int = 0) -> list[Row]:
        """The rows of the request at `position`; raises BadInput for an impossible constraint."""
        return [
            self._row(position, request, index, started, cached)
            for index in range(request.sampling.n)
        ]

    def _row(self, position: int, request: Request, index: int, started: float, cached: int) -> Row:
        mask = self._mask(request.sampling.constraint, request.stop_token_ids)
        device = self.model.device
        sampler = Sampler(request.sampling, index, request.prompt_token_ids, device, mask)
        assembler = ChoiceAssembler(request, self.tokenizer, index, started, cached)
        return Row(position, assembler, sampler, mask)

    def _mask(
        self, constraint: Constraint | None, end_tokens: tuple[int, ...]
    ) -> ConstraintMask | None:
        if constraint is None:
            return None
        made = grammar(constraint)
        if end_tokens not in self._guidance:
            vocabulary = self.model.config.get_text_config().vocab_size
            self._guidance[end_tokens] = tokenizer_for(
                self.tokenizer.backend.to_str(), vocabulary, end_tokens
            )
        return ConstraintMask(self._guidance[end_tokens], made)
