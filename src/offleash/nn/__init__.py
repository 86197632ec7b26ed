"""Models: making small ones, loading, identity by content, teacher-forced scoring."""

from offleash.nn.load import EMBEDDED, identity, load, load_outline, model_folder
from offleash.nn.logprobs import PaddedBatch, pad, score
from offleash.nn.tiny import TinyModel, build, save

__all__ = [
    "EMBEDDED",
    "PaddedBatch",
    "TinyModel",
    "build",
    "identity",
    "load",
    "load_outline",
    "model_folder",
    "pad",
    "save",
    "score",
]
