"""TRL's completions: two steps of `GRPOTrainer` itself, on a model of a few weights with rewards set by hand.

    OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 .venv/bin/python tests/golden/peers/make_trl.py

Texts are noise; the reward function gives each question's first completions 1.0, and `length` as a second column in the run
called two_rewards. In that run one reward is None, which TRL logs as missing.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

sys.path.insert(0, str(Path(__file__).parent))
from problems import CORRECT, EARLIER, HERE, QUESTIONS, N, record

WORDS = [
    "<pad>",
    "<eos>",
    "<unk>",
    *sorted({w for q in QUESTIONS for w in q.replace("?", " ?").split()}),
    "5",
    "20",
    "15",
]
TEMPLATE = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=TEMPLATE, **names)


def model() -> Qwen2ForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Qwen2ForCausalLM(
        Qwen2Config(vocab_size=len(WORDS), num_key_value_heads=2, eos_token_id=1, pad_token_id=0, **sizes)
    )


def asked(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


class Accuracy:
    """1.0 for the first completions of each question, by the counts of the step."""

    __name__ = "accuracy_reward"

    def __init__(self, counts: list[tuple[int, ...]], missing: bool) -> None:
        self.counts, self.missing, self.calls = counts, missing, 0

    def __call__(self, prompts: list[Any], **_: Any) -> list[float | None]:
        counts, seen, rewards = self.counts[self.calls], dict.fromkeys(QUESTIONS, 0), []
        self.calls += 1
        for prompt in prompts:
            question = asked(prompt)
            rewards.append(float(seen[question] < counts[QUESTIONS.index(question)]))
            seen[question] += 1
        return [None, *rewards[1:]] if self.missing else rewards


def length_reward(completions: list[Any], **_: Any) -> list[float]:
    return [0.25] * len(completions)


def run(name: str, counts: list[tuple[int, ...]], *, chat: bool, two: bool) -> None:
    prompts: list[Any] = [[{"role": "user", "content": q}] for q in QUESTIONS] if chat else list(QUESTIONS)
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model(),
            processing_class=tokenizer(),
            reward_funcs=[Accuracy(counts, two), *([length_reward] if two else [])],
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            args=GRPOConfig(
                output_dir=folder, num_generations=N, per_device_train_batch_size=len(QUESTIONS) * N, max_steps=len(counts),
                max_completion_length=4, log_completions=True, logging_steps=1, report_to="none", save_strategy="no",
                use_cpu=True, bf16=False, seed=0, shuffle_dataset=False, disable_tqdm=True, num_completions_to_print=0,
            ),
        )  # fmt: skip
        trainer.train()
        target = HERE / "trl" / name / "completions"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(folder) / "completions", target)


if __name__ == "__main__":
    for side in ("base", "tuned"):
        run(side, [EARLIER[side], CORRECT[side]], chat=True, two=False)
    run("two_rewards", [CORRECT["base"]], chat=False, two=True)
    record("trl", "trl", "transformers", "torch", "pandas", "pyarrow")
