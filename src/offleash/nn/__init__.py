"""Models: making small ones, loading, identity by content, teacher-forced scoring."""

from offleash.nn.load import EMBEDDED, EMBEDDED_MODELS, identity, load, load_outline, model_folder
from offleash.nn.logprobs import PaddedBatch, pad, score, slots
from offleash.nn.scoring import Scored, perplexity, require_plain_head, score_all
from offleash.nn.tiny import TinyModel, build, save

__all__ = [
    "EMBEDDED",
    "EMBEDDED_MODELS",
    "PaddedBatch",
    "Scored",
    "TinyModel",
    "build",
    "identity",
    "load",
    "load_outline",
    "model_folder",
    "pad",
    "perplexity",
    "require_plain_head",
    "save",
    "score",
    "score_all",
    "slots",
]
