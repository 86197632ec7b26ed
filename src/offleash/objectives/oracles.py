"""Which rows are compared with somebody else's implementation, number by number; the tests hold this list to it.

Value and gradient of the loss, or the advantages, agree to 1e-9 in float64 under the settings that make the two the same.
"""

from __future__ import annotations

COMPARED: dict[str, frozenset[str]] = {
    "TRL 1.16.0": frozenset(
        {"grpo", "dr-grpo", "dapo", "gspo", "gspo-token", "cispo", "80-20", "grpo+tis", "grpo+mis", "icepop"}
    ),
    "verl 0.9.1": frozenset(
        {"grpo", "dr-grpo", "dapo", "rloo", "reinforce", "reinforce++", "reinforce++-baseline", "gspo", "gspo-token"}
        | {"cispo", "clip-cov", "kl-cov", "grpo+tis", "grpo+mis", "icepop"}
    ),
}


def peers_of(name: str) -> list[str]:
    """The implementations a row is compared with."""
    return [peer for peer, rows in COMPARED.items() if name in rows]
