"""offleash: train language models with verifiable rewards and measure what that does to their capability boundary."""

__version__ = "0.1.0"
