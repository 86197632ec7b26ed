"""Verifiers that parse model output themselves; none of them evaluates it as code."""
