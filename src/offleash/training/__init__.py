"""Training: one loop for every objective (`loop.py`), its step, checkpoints, and supervised pretraining."""

from offleash.training.loop import Hooks, check, train
from offleash.training.pretrain import PretrainSettings, Stage, pretrain
from offleash.training.settings import TrainSettings

__all__ = ["Hooks", "PretrainSettings", "Stage", "TrainSettings", "check", "pretrain", "train"]
