"""Training: one loop for every objective (`loop.py`), its step, checkpoints, and supervised pretraining."""

from offleash.training.check import check
from offleash.training.loop import Hooks, train
from offleash.training.pretrain import PretrainSettings, Stage, pretrain
from offleash.training.settings import TrainSettings

__all__ = ["Hooks", "PretrainSettings", "Stage", "TrainSettings", "check", "pretrain", "train"]
