"""Names that are nearly right."""

from __future__ import annotations

import pytest

from offleash.core import unknown_name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gropo", "unknown objective 'gropo'; did you mean 'grpo'? (known: SFT, grpo)"),
        ("GRPO", "unknown objective 'GRPO'; did you mean 'grpo'? (known: SFT, grpo)"),
        ("sft", "unknown objective 'sft'; did you mean 'SFT'? (known: SFT, grpo)"),
        ("xyzzy", "unknown objective 'xyzzy' (known: SFT, grpo)"),
    ],
)
def test_the_closest_name_is_proposed_whatever_its_case(name: str, message: str) -> None:
    assert str(unknown_name("objective", name, ["grpo", "SFT"])) == message
