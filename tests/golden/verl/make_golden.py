"""What verl 0.9.1 computes on fixed inputs, written to verl_0_9_1.json; tests/objectives/test_verl.py compares.

verl needs an older transformers than this package, so this runs in an environment of its own (Python 3.11):

    python3.11 -m venv verl-env
    verl-env/bin/pip install torch==2.13.0 numpy==2.4.6 transformers==5.10.4 tensordict==0.10.0 omegaconf==2.4.0 \
        ray==2.60.0 codetiming==1.4.0 packaging
    verl-env/bin/pip install --no-deps verl==0.9.1
    OMP_NUM_THREADS=1 verl-env/bin/python tests/golden/verl/make_golden.py

Everything is float64 on the CPU. Inputs are rounded to 12 significant digits before verl sees them, outputs after.
"""

from __future__ import annotations

import datetime
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

TARGET = Path(__file__).with_name("verl_0_9_1.json")
PACKAGES = ("verl", "torch", "transformers", "numpy", "tensordict")
SEED = 20_250_911
PROMPTS, GROUP, TOKENS = 4, 4, 7
LENGTHS = (7, 3, 5, 1, 6, 4, 7, 2, 5, 3, 6, 4, 7, 5, 4, 0)
HOLES = ((0, 2), (6, 3), (6, 4))
"""Tokens the model did not choose (the output of a tool), inside a completion."""
REWARDS = (
    (0.3, 1.0, 0.75, 0.1),
    (1.0, 0.0, 0.0, 1.0),
    (0.7, 0.7, 0.7, 0.7),
    (0.0, 0.0, 1.0, 0.0),
)

Json = dict[str, Any]


def rounded(values: Tensor) -> Any:
    """Nested lists of numbers of 12 significant digits."""
    if values.ndim:
        return [rounded(value) for value in values]
    return float(f"{values.item():.12g}") + 0.0  # + 0.0: no negative zeros


def inputs() -> dict[str, Tensor]:
    """Log-ratios up to 1.5 either way, so that every bound is crossed from both sides under both signs of A."""
    draw = np.random.default_rng(SEED)
    shape = (PROMPTS * GROUP, TOKENS)
    logprobs = -draw.uniform(0.05, 3.0, shape)
    old = np.minimum(logprobs + draw.uniform(-1.5, 1.5, shape), -1e-3)
    engine = np.minimum(old + draw.uniform(-0.6, 0.6, shape), -1e-3)
    reference = logprobs + draw.uniform(-1.5, 1.5, shape)
    mask = torch.arange(TOKENS) < torch.tensor(LENGTHS)[:, None]
    for n, t in HOLES:
        mask[n, t] = False
    arrays = {"logprobs": logprobs, "old_logprobs": old, "engine_logprobs": engine, "ref_logprobs": reference}
    tensors = {name: torch.tensor(rounded(torch.from_numpy(a)), dtype=torch.float64) for name, a in arrays.items()}
    return {"rewards": torch.tensor(REWARDS, dtype=torch.float64), "mask": mask.to(torch.float64), **tensors}


# ----------------------------------------------------------------------------------------------------------- advantages

ESTIMATORS: dict[str, tuple[str, Json]] = {
    "grpo": ("grpo", {}),
    "grpo, no std": ("grpo", {"norm_adv_by_std_in_grpo": False}),
    "grpo_vectorized": ("grpo_vectorized", {}),
    "rloo": ("rloo", {}),
    "rloo_vectorized": ("rloo_vectorized", {}),
    "reinforce_plus_plus": ("reinforce_plus_plus", {"config": {"gamma": 1.0}}),
    "reinforce_plus_plus, gamma 0.9": ("reinforce_plus_plus", {"config": {"gamma": 0.9}}),
    "reinforce_plus_plus_baseline": ("reinforce_plus_plus_baseline", {}),
    "grpo_passk": ("grpo_passk", {"config": {"norm_adv_by_std_in_grpo": True}}),
    "grpo_passk, no std": ("grpo_passk", {"config": {"norm_adv_by_std_in_grpo": False}}),
    "opo": ("opo", {}),
    "gpg": ("gpg", {}),
    "gdpo, one reward": ("gdpo", {}),
}
"""Name of a case: verl's estimator and its arguments. Left out: gae, remax, *optimal_token_baseline (more inputs)."""


def token_rewards(data: dict[str, Tensor]) -> Tensor:
    """The reward at the last token of each completion. An empty one has none, so its position is a masked one."""
    rewards = torch.zeros_like(data["mask"])
    last = (torch.arange(TOKENS) * data["mask"]).amax(1).long()
    rewards[torch.arange(len(last)), last] = data["rewards"].flatten()
    return rewards


def advantages(algos: Any, data: dict[str, Tensor], name: str, arguments: Json) -> Tensor:
    """verl's advantages of the tokens, N x T."""
    from verl.trainer.config import AlgoConfig

    keywords = dict(arguments)
    if "config" in keywords:
        keywords["config"] = AlgoConfig(**keywords["config"])
    if name != "reinforce_plus_plus":
        keywords["index"] = np.repeat(np.arange(PROMPTS), GROUP)
    function = algos.get_adv_estimator_fn(name)
    result: Tensor = function(token_level_rewards=token_rewards(data), response_mask=data["mask"], **keywords)[0]
    return result


# --------------------------------------------------------------------------------------------------------------- losses

MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
WIDE = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28}
NO_DUAL = {"clip_ratio_c": 1e6}
COV = {"clip_ratio_low": 1.0, "clip_ratio_high": 1.0}
TOKEN, SEQUENCE = "token-mean", "seq-mean-token-mean"

LOSSES: dict[str, tuple[str, str, Json]] = {
    **{f"vanilla, {mode}": ("vanilla", mode, WIDE) for mode in MODES},
    "vanilla, constant length": (
        "vanilla",
        "seq-mean-token-sum-norm",
        {**WIDE, "global_batch_info": {"loss_scale_factor": 9}},  # where the trainer puts it
    ),
    "vanilla, no dual clip": ("vanilla", TOKEN, {**WIDE, **NO_DUAL}),
    "vanilla, dual clip 1.5": ("vanilla", SEQUENCE, {"clip_ratio_c": 1.5}),
    "gspo": ("gspo", SEQUENCE, {"clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}),
    "gspo, wide": ("gspo", SEQUENCE, {"clip_ratio_low": 0.1, "clip_ratio_high": 0.1}),
    "gspo, token-mean": ("gspo", TOKEN, {"clip_ratio_low": 0.1, "clip_ratio_high": 0.1}),
    "gpg": ("gpg", TOKEN, {}),
    "cispo, cap 1.2": ("cispo", TOKEN, {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2}),
    "cispo, cap 2, no floor": ("cispo", TOKEN, {"clip_ratio_low": 10.0, "clip_ratio_high": 1.0}),
    "clip_cov, all": ("clip_cov", TOKEN, {**COV, "policy_loss": {"clip_cov_ratio": 1.0, "clip_cov_lb": 0.2}}),
    "clip_cov, some": ("clip_cov", TOKEN, {**COV, "policy_loss": {"clip_cov_ratio": 0.1, "clip_cov_lb": 0.1}}),
    "clip_cov, one": ("clip_cov", TOKEN, {**COV, "policy_loss": {"clip_cov_ratio": 2e-4, "clip_cov_lb": 0.1}}),
    "kl_cov": ("kl_cov", TOKEN, {"policy_loss": {"kl_cov_ratio": 0.1, "ppo_kl_coef": 1.0}}),
    "kl_cov, one": ("kl_cov", TOKEN, {"policy_loss": {"kl_cov_ratio": 2e-4, "ppo_kl_coef": 0.1}}),
    "geo_mean": ("geo_mean", TOKEN, {"clip_ratio_low": 0.4, "clip_ratio_high": 0.4}),
    "sapo": ("sapo", SEQUENCE, {"tau_pos": 1.0, "tau_neg": 1.05}),
    "dppo_tv": ("dppo_tv", TOKEN, WIDE),
    "dppo_kl": ("dppo_kl", TOKEN, {"clip_ratio_low": 0.05, "clip_ratio_high": 0.05}),
    "dro": ("dro", TOKEN, {"policy_loss": {"dro_beta": 0.5}}),
}
"""Name of a case: verl's loss, its loss_agg_mode and the fields of its ActorConfig that matter."""

CORRECTIONS: dict[str, Json] = {
    "token, truncated": {"rollout_is": "token", "rollout_is_threshold": 1.5},
    "token, band": {"rollout_is": "token", "rollout_is_threshold": "0.6_1.5"},
    "sequence, truncated": {"rollout_is": "sequence", "rollout_is_threshold": 1.5},
    "sequence, band": {"rollout_is": "sequence", "rollout_is_threshold": "0.3_1.5"},
    "mean, rejected": {"rollout_rs": "seq_mean_k1", "rollout_rs_threshold": "0.9_1.25"},
}
"""Rollout correction: weights from rollout_is, or a mask from rollout_rs; vanilla at the settings WIDE, token-mean."""

KLS = ("k1", "abs", "k2", "k3", "k1+", "k3+")


def config(fields: Json, **more: Any) -> Any:
    """An ActorConfig with these fields."""
    from verl.workers.config import ActorConfig
    from verl.workers.config.actor import PolicyLossConfig

    values = {**fields, **more}
    if "policy_loss" in values:
        values["policy_loss"] = PolicyLossConfig(**values["policy_loss"])
    return ActorConfig(strategy="fsdp", rollout_n=GROUP, use_dynamic_bsz=True, **values)


def with_gradient(function: Any, logprobs: Tensor) -> Json:
    """The loss, and its gradient with respect to the log-probs."""
    leaf = logprobs.detach().clone().requires_grad_()
    torch.manual_seed(SEED)  # for the permutation of clip_cov
    loss = function(leaf)
    (grad,) = torch.autograd.grad(loss, leaf)
    return {"loss": rounded(loss.detach()), "grad": rounded(grad)}


def policy_loss(
    algos: Any, data: dict[str, Tensor], name: str, mode: str, settings: Any, weights: Tensor | None = None
) -> Json:
    """One registered policy loss."""
    function = algos.get_policy_loss_fn(name)
    adv_NT = data["advantages"][:, None] * data["mask"]
    return with_gradient(
        lambda leaf: function(
            old_log_prob=data["old_logprobs"],
            log_prob=leaf,
            advantages=adv_NT,
            response_mask=data["mask"],
            loss_agg_mode=mode,
            config=settings,
            rollout_is_weights=weights,
        )[0],
        data["logprobs"],
    )


def losses(algos: Any, data: dict[str, Tensor]) -> dict[str, Json]:
    """Every case of LOSSES; for clip_cov also which tokens its permutation chose."""
    results = {}
    for case, (name, mode, fields) in LOSSES.items():
        found = policy_loss(algos, data, name, mode, config(fields))
        results[case] = {"verl": name, "loss_agg_mode": mode, "config": fields, **found}
        if name == "clip_cov":
            # With an empty band nothing is chosen: where the gradients differ, the token was.
            empty = {**fields, "policy_loss": {"clip_cov_lb": 1e9, "clip_cov_ub": 1e9}}
            without = policy_loss(algos, data, name, mode, config(empty))
            differs = torch.tensor(found["grad"]) != torch.tensor(without["grad"])
            results[case]["selected"] = differs.int().tolist()
    return results


def far_apart(algos: Any) -> Json:
    """vanilla without dual clip where the log-ratio is 25 and -25, and a token beside each where it is not."""
    data = {
        "logprobs": torch.tensor([[-0.5, -0.5], [-25.5, -0.5]], dtype=torch.float64),
        "old_logprobs": torch.tensor([[-25.5, -0.375], [-0.5, -0.625]], dtype=torch.float64),
        "advantages": torch.tensor([-1.0, 1.0], dtype=torch.float64),
        "mask": torch.ones(2, 2, dtype=torch.float64),
    }
    found = policy_loss(algos, data, "vanilla", TOKEN, config({**WIDE, "clip_ratio_c": 1e30}))
    kept = {name: value.int().tolist() if name == "mask" else rounded(value) for name, value in data.items()}
    return {"inputs": kept, "loss_agg_mode": TOKEN, "config": WIDE, **found}


def micro_batches(algos: Any, data: dict[str, Tensor]) -> dict[str, Json]:
    """Two halves under the counts of the whole batch.

    verl's trainer passes its mini-batch size as global_batch_size, which counts completions without tokens too.
    """
    counts = {
        "dp_size": 1,
        "batch_num_tokens": int(data["mask"].sum()),
        "global_batch_size": int((data["mask"].sum(1) > 0).sum()),
    }
    results = {}
    for mode in ("token-mean", "seq-mean-token-mean"):
        for first, last in ((0, 6), (6, 16)):
            part = {name: data[name][first:last] for name in ("mask", "logprobs", "old_logprobs", "advantages")}
            found = policy_loss(algos, part, "vanilla", mode, config(WIDE, global_batch_info=counts))
            case = {"verl": "vanilla", "loss_agg_mode": mode, "config": WIDE, "rows": [first, last], **found}
            results[f"vanilla, {mode}, rows {first}:{last}"] = case
    return results


def corrections(algos: Any, data: dict[str, Tensor]) -> dict[str, Json]:
    """vanilla, corrected for the difference between trainer and sampling engine."""
    from verl.trainer.ppo import rollout_corr_helper as helper

    log_ratio = data["old_logprobs"] - data["engine_logprobs"]
    results = {}
    for case, arguments in CORRECTIONS.items():
        used, weights = dict(data), None
        if "rollout_is" in arguments:
            weights = helper.compute_rollout_correction_weights(log_ratio, data["mask"], **arguments)[0]
        else:
            used["mask"] = helper.compute_rollout_rejection_mask(log_ratio, data["mask"], **arguments)[0]
        found = policy_loss(algos, used, "vanilla", TOKEN, config(WIDE), weights)
        results[case] = {"verl": arguments, "loss_agg_mode": TOKEN, "config": WIDE, **found}
        results[case] |= {"weights": rounded(weights)} if weights is not None else {"mask": used["mask"].int().tolist()}
    return results


def kls(algos: Any, data: dict[str, Tensor]) -> dict[str, Json]:
    """The KL penalty alone, as verl adds it to a loss: per token, then aggregated."""

    def penalty(leaf: Tensor, kind: str, reference: Tensor, mode: str) -> Tensor:
        value: Tensor = algos.agg_loss(algos.kl_penalty(leaf, reference, kind), data["mask"], mode)
        return value

    results = {}
    for kind in KLS:
        found = with_gradient(lambda leaf, k=kind: penalty(leaf, k, data["ref_logprobs"], TOKEN), data["logprobs"])
        results[kind] = {"loss_agg_mode": TOKEN, **found}
    far = data["logprobs"] + 4.0
    found = with_gradient(lambda leaf: penalty(leaf, "k3", far, TOKEN), data["logprobs"])
    results["k3, reference 4 nats above"] = {"loss_agg_mode": TOKEN, **found}
    return results


def main() -> None:
    """Write TARGET and say what was used."""
    from verl.trainer.ppo import core_algos as algos

    data = inputs()
    estimated = {}
    for case, (name, arguments) in ESTIMATORS.items():
        values = rounded(advantages(algos, data, name, arguments))
        estimated[case] = {"verl": name, "arguments": arguments, "advantages": values}
    # One number a completion; the row without tokens gets what its group would give it.
    centred = data["rewards"] - data["rewards"].mean(1, keepdim=True)
    scaled = centred / (data["rewards"].std(1, keepdim=True) + 1e-6)
    data["advantages"] = torch.tensor(rounded(scaled.flatten()), dtype=torch.float64)
    versions = {name: metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}
    sections: dict[str, Any] = {
        "versions": versions,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "registered": {
            "advantages": sorted(algos.ADV_ESTIMATOR_REGISTRY),
            "losses": sorted(algos.POLICY_LOSS_REGISTRY),
        },
        "inputs": {name: value.int().tolist() if name == "mask" else rounded(value) for name, value in data.items()},
        "advantages": estimated,
        "losses": losses(algos, data),
        "far": far_apart(algos),
        "micro_batches": micro_batches(algos, data),
        "corrections": corrections(algos, data),
        "kl": kls(algos, data),
    }
    TARGET.write_text(text(sections))
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1000:.0f} kB with", versions)


def text(sections: Json) -> str:
    """JSON with one line per entry of a section."""
    lines = []
    for name, section in sections.items():
        if isinstance(section, dict):
            body = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in section.items())
            lines.append(f"{json.dumps(name)}: {{\n{body}\n}}")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(section)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
