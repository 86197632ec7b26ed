"""GSM8K with the prompt written out, as Qwen2.5's Instruct models are asked for mathematics: `recipes/gsm8k/qwen.py:GSM8K`.

Train, sample and compare with this one name, so that the text in front of the model is the same everywhere. It is the task `gsm8k`
with another prompt, so keep its samples in a store of their own. Problems come from OFFLEASH_DATA/gsm8k (train.jsonl, test.jsonl).
"""

from dataclasses import replace

from offleash.tasks.math import DATA_SETS, MathTask

PROMPT = (
    "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
    "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
)
GSM8K = MathTask(replace(DATA_SETS["gsm8k"], prompt=PROMPT))
