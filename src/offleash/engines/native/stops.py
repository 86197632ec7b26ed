"""Stop strings: a completion ends with the token that completes one."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from offleash.engines.base import cut


class Stops:
    """Calling it with the tokens of a completion tells whether its end spells a stop string."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        # Every token but a special one spells at least a byte; a few more, since a tokenizer may eat a first space.
        self.tail = max(len(s.encode()) for s in stop) + 4

    def __call__(self, ids: list[int]) -> bool:
        """Whether the last token completes a stop string."""
        return cut(str(self.tokenizer.decode(ids[-self.tail :], skip_special_tokens=False)), self.stop)[1]
