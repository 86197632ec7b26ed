"""Calls in processes that can be killed: a verifier that hangs, crashes or eats memory costs one verdict, never the run.

What is covered: processor time, wall time, address space, size of the answer, and the death of the process, also in C code.
What is not: files and the network. A verifier is trusted code that reads untrusted text; to run untrusted code, see `tasks.code`.
"""

from offleash.tasks.isolation.pool import Failure, Limits, Pool, shared

__all__ = ["Failure", "Limits", "Pool", "shared"]
