"""GRPO on countdown, top to bottom in one file: what `offleash train` does, without its rooms.

    python recipes/rl_in_one_file.py --steps 20

Only three things come from the library: the problems, the verifier, and the hashed uniform numbers. The rest is spelled out:
sampling, group advantages, the clipped surrogate, AdamW. A test holds its first update equal to the library's
(tests/e2e/test_flat_twin.py). What is left out: continuous batching, checkpoints and resume, demonstrations, probes, skipping
of groups without a signal.

Suffixes: N sequences (prompts x group), T completion tokens, L prompt + completion tokens, V vocabulary, P prompts, G group.
"""

from __future__ import annotations

import argparse

import torch

from offleash import nn, tasks
from offleash.core import rng

# Defaults of the recipe `recipes/demo/grpo.yaml`; every one is a flag.
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="base", help="a Hugging Face model folder, or `base`")
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--level", type=int, default=5)
parser.add_argument("--num_prompts", type=int, default=32)
parser.add_argument("--num_generations", type=int, default=16)
parser.add_argument("--minibatches", type=int, default=2)
parser.add_argument("--learning_rate", type=float, default=1e-4)
parser.add_argument("--epsilon", type=float, default=0.2)
parser.add_argument("--max_completion_length", type=int, default=32)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", default="", help="folder for the trained model")


@torch.no_grad()
def rollout(model, prompts_N, keys_N, max_length, eos):
    """Sample one completion a prompt by inverse CDF; returns token lists and their log-probs."""
    n = len(prompts_N)
    uniform_NT = torch.from_numpy(rng.uniforms(keys_N, 0, max_length))
    sequences = [list(prompt) for prompt in prompts_N]
    logprobs = [[] for _ in range(n)]
    alive = list(range(n))
    for t in range(max_length):
        # No cache: every step reads the whole sequence again. Slow, and obviously right.
        lengths = [len(sequences[i]) for i in alive]
        ids = torch.tensor([sequences[i] + [0] * (max(lengths) - len(sequences[i])) for i in alive])
        last = torch.tensor(lengths) - 1
        logits_NV = model(input_ids=ids, use_cache=False).logits[torch.arange(len(alive)), last].float()
        logp_NV = logits_NV.log_softmax(-1)
        cdf_NV = logp_NV.exp().double().cumsum(-1)
        token_N = torch.searchsorted(cdf_NV, uniform_NT[alive, t, None] * cdf_NV[:, -1:], right=True).squeeze(-1)
        chosen_N = logp_NV.gather(-1, token_N[:, None]).squeeze(-1)
        for i, token, logp in zip(alive, token_N.tolist(), chosen_N.tolist(), strict=True):
            sequences[i].append(token)
            logprobs[i].append(logp)
        alive = [i for i in alive if sequences[i][-1] != eos]
        if not alive:
            break
    return [s[len(p) :] for s, p in zip(sequences, prompts_N, strict=True)], logprobs


def completion_logprobs(model, prompts, completions):
    """Teacher-forced log-probs (N, T) of the completions and their mask."""
    length = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    width = max(map(len, completions))
    ids_NL = torch.tensor([p + c + [0] * (length - len(p) - len(c)) for p, c in zip(prompts, completions, strict=True)])
    mask_NT = torch.tensor([[t < len(c) for t in range(width)] for c in completions])
    # The logits at position i predict token i + 1, so completion token t of a prompt of p tokens is read at p - 1 + t.
    where_NT = torch.tensor([[min(len(p) - 1 + t, length - 2) for t in range(width)] for p in prompts])
    logp_NLV = model(input_ids=ids_NL, use_cache=False).logits.float().log_softmax(-1)
    token_NL = logp_NLV[:, :-1].gather(-1, ids_NL[:, 1:, None]).squeeze(-1)
    return token_NL.gather(1, where_NT), mask_NT


def main(args):
    task = tasks.get("countdown")
    model, tokenizer = nn.load(args.model)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.0}, {"params": vectors, "weight_decay": 0.0}],
        lr=args.learning_rate, betas=(0.9, 0.95), fused=True,
    )  # fmt: skip
    G = args.num_generations

    for step in range(args.steps):
        # 1. Problems of this step, and a group of G completions for each.
        problems_P = [task.generate((args.seed, "step", step, i), args.level, "train") for i in range(args.num_prompts)]
        prompts_P = tokenizer([p.prompt for p in problems_P])["input_ids"]
        prompts_N = [ids for ids in prompts_P for _ in range(G)]
        keys_N = [rng.key64("rollout", args.seed, step, slot, g) for slot in range(args.num_prompts) for g in range(G)]
        completions_N, old_N = rollout(model, prompts_N, keys_N, args.max_completion_length, tokenizer.eos_token_id)

        # 2. Verdicts, and advantages relative to the group: (R - mean) / (std + 1e-6), std of G - 1 degrees of freedom.
        texts_N = [
            tokenizer.decode([t for t in c if t != tokenizer.eos_token_id], skip_special_tokens=False)
            for c in completions_N
        ]
        rewards_N = [task.verify(problems_P[n // G], text).reward for n, text in enumerate(texts_N)]
        rewards_PG = torch.tensor(rewards_N, dtype=torch.float64).view(-1, G)
        advantages_PG = (rewards_PG - rewards_PG.mean(1, keepdim=True)) / (rewards_PG.std(1, keepdim=True) + 1e-6)
        advantages_N = advantages_PG.flatten().float()

        # 3. One optimizer step for each mini-batch of whole groups.
        size = len(prompts_N) // args.minibatches
        for start in range(0, len(prompts_N), size):
            rows = slice(start, start + size)
            logp_NT, mask_NT = completion_logprobs(model, prompts_N[rows], completions_N[rows])
            width = mask_NT.shape[1]
            old_NT = torch.tensor([old + [0.0] * (width - len(old)) for old in old_N[rows]])
            ratio_NT = torch.where(mask_NT, logp_NT - old_NT, 0.0).exp()
            adv_N1 = advantages_N[rows, None]
            surrogate_NT = torch.minimum(ratio_NT * adv_N1, ratio_NT.clamp(1 - args.epsilon, 1 + args.epsilon) * adv_N1)
            # Mean over a completion's tokens, then over completions (GRPO).
            loss = -((surrogate_NT * mask_NT).sum(1) / mask_NT.sum(1)).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        lengths = [len(c) for c in completions_N]
        print(f"step {step + 1}  reward {rewards_PG.mean():.4f}  length {sum(lengths) / len(lengths):.1f}", flush=True)

    if args.out:
        model.save_pretrained(args.out)
        tokenizer.save_pretrained(args.out)
    return model


if __name__ == "__main__":
    main(parser.parse_args())
