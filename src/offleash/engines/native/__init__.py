"""The native engine: reads the trainer's own weights, batches continuously, keeps sampling log-probs."""

from offleash.engines.native.engine import NativeEngine

__all__ = ["NativeEngine"]
