"""How rows are divided into forward passes. It changes speed and memory, never the gradient: denominators are of the whole step."""

from __future__ import annotations

from offleash.training.rows import Row

PADDING = 0.09
"""Of the token slots of a micro-batch of rows of similar lengths, at most this share is padding."""

Rows = list[Row]


def group_by_group(rows: Rows, size: int) -> list[Rows]:
    """Micro-batches of `size` rows, rows of one prompt together, so that the prompt is read once for them."""
    ordered = sorted(rows, key=lambda r: r.group)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def least_computed(rows: Rows, size: int) -> list[Rows]:
    """Micro-batches of at most `size` rows for a model that pads: of similar lengths, unless whole groups compute fewer slots.

    Similar lengths save padding and read a prompt once for each micro-batch it occurs in: with long prompts and completions of
    even length that costs more than it saves.
    """
    ways = [by_length(rows, size), [_Batch(micro) for micro in group_by_group(rows, size)]]
    return [batch.rows for batch in min(ways, key=lambda way: sum(batch.computed for batch in way))]


def by_length(rows: Rows, size: int) -> list[_Batch]:
    """The longest completions first, each row into the first batch that is still at most `PADDING` padding with it."""
    found: list[_Batch] = []
    open_ones: list[_Batch] = []
    for row in sorted(rows, key=lambda r: (-len(r.completion), r.group)):
        batch = next((b for b in open_ones if b.takes(row)), None)
        if batch is None:
            batch = _Batch([])
            found.append(batch)
            open_ones.append(batch)
        batch.add(row)
        if len(batch.rows) == size:
            open_ones.remove(batch)
    return found


class _Batch:
    """A micro-batch and its token slots, as `nn.slots` counts them: rectangles of distinct prompts and of completions."""

    def __init__(self, rows: Rows) -> None:
        self.rows: Rows = []
        self.prompts: set[tuple[int, ...]] = set()
        self.prompt_width = self.width = self.tokens = 0
        for row in rows:
            self.add(row)

    @property
    def computed(self) -> int:
        """Token slots, padding included."""
        return len(self.prompts) * self.prompt_width + len(self.rows) * self.width

    @property
    def padded(self) -> int:
        """Token slots that hold no token."""
        return self.computed - self.tokens

    def takes(self, row: Row) -> bool:
        """Whether at most `PADDING` of the slots are padding with this row too."""
        new = tuple(row.prompt) not in self.prompts
        prompt_width = max(self.prompt_width, len(row.prompt))
        width = max(self.width, len(row.completion) - 1)
        computed = (len(self.prompts) + new) * prompt_width + (len(self.rows) + 1) * width
        tokens = self.tokens + new * len(row.prompt) + len(row.completion) - 1
        return computed - tokens <= PADDING * computed

    def add(self, row: Row) -> None:
        """Put the row in."""
        prompt = tuple(row.prompt)
        self.tokens += len(row.completion) - 1 + (len(prompt) if prompt not in self.prompts else 0)
        self.prompts.add(prompt)
        self.prompt_width = max(self.prompt_width, len(prompt))
        self.width = max(self.width, len(row.completion) - 1)
        self.rows.append(row)
