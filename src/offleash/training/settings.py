"""What a training run is: the fields of a recipe. Everything resolved here is stored beside the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from offleash.core import InputError, unknown_name
from offleash.training.bounds import check_bounds

LARGEST = 1_000_000
"""Texts in one step; more is a slip of the keyboard."""
ENGINES = ("native", "hf", "server")
SERVERS = ("vllm", "sglang")
DTYPES = ("bfloat16", "float16", "float32")
ARMS = ("correct", "format", "random", "majority", "incorrect")
RESETS = ("reference", "optimizer")
WHEN = ("narrowed", "plateau")
ACTIONS = ("warn", "stop", "reset_reference", "reset_optimizer", "return_to_reference", "return_to_best", "change")


def _known(field_name: str, given: tuple[str, ...], names: tuple[str, ...]) -> None:
    for name in given:
        if name not in names:
            raise unknown_name(field_name, name, names)


@dataclass(frozen=True)
class TaskSettings:
    """Which problems to train on."""

    name: str = "countdown"
    """A name of `offleash tasks`."""
    levels: tuple[int, ...] = (5,)
    """Difficulty levels; prompt i of a step is of level i modulo their number."""
    split: str = "train"
    """Whose problems; training on test is possible and warned of."""
    problems: int = 0
    """Train on the first so many problems of each level, again and again (1: one example); 0 for new ones at every step."""
    measured: str = ""
    """STORE#MODEL that has measured these problems; `rates` chooses among them."""
    rates: tuple[float, float] = (0.0, 1.0)
    """Only problems that the measured model solves in a share of its samples between these two, ends included."""
    strategic_grams: tuple[str, ...] = ()
    """Texts whose tokens count as planning, for hicra; empty for what the task itself says."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """A row of `offleash objectives` and changes to its fields."""

    name: str = "grpo"
    """A name of `offleash objectives`."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Changes to the row's fields, such as {kl_beta: 0.01}."""


@dataclass(frozen=True)
class ServerSettings:
    """An inference server that reads the policy's weights from a folder before every step; for rollout.engine server."""

    url: str = ""
    """Where it listens, such as http://localhost:8000."""
    kind: str = "vllm"
    """vllm, or sglang: how it is told to read weights."""
    folder: str = ""
    """Where the weights are written: an absolute path that the trainer and the server both see. The last two steps' are kept."""
    model: str = ""
    """The model's name there; empty where it serves one."""
    dtype: str = "bfloat16"
    """Of the weights that are written: what the server computes in. bfloat16, float16 or float32."""
    max_mismatch: float = 0.05
    """The run stops where the log-probs of the server and of the trainer differ by more, mean over a step's tokens, in nats."""
    patience: float = 300.0
    """Seconds to wait for a server that does not answer before the run stops."""


@dataclass(frozen=True)
class RolloutSettings:
    """How completions are drawn at every step."""

    num_prompts: int = 32
    """Prompts a step."""
    num_generations: int = 16
    """Sampled completions a prompt (the group, without demonstrations); 0 for supervised objectives."""
    temperature: float = 1.0
    """Of sampling; log-probs, entropies and the gradient are at it too."""
    max_completion_length: int = 32
    """Tokens, the end token included; of one turn, where the task is a world."""
    engine: str = "native"
    """native, hf (any causal model, slower), or server (an inference server that is given the weights at every step)."""
    server: ServerSettings = field(default_factory=ServerSettings)
    rows: int = 256
    """Completions decoded at one time; of a server, asked for at one time."""
    keep: bool = False
    """Keep every step's completions and verdicts in the run folder (`samples/`, `verdicts/`), laid out as a store."""
    max_rounds: int = 1
    """Above 1 (dynamic sampling, DAPO): further prompts are drawn until num_prompts groups have rewards that differ, in at most
    so many rounds."""


@dataclass(frozen=True)
class ExternalSettings:
    """Demonstrations that join each group."""

    per_group: int = 0
    """How many."""
    source: str = "gold"
    """Whose texts: `gold`, the task's own solver; STORE#MODEL, that model's correct completions; or a jsonl or parquet file with
    `text` and `id` or `prompt`. The problems are then those it has texts for."""


@dataclass(frozen=True)
class RewardSettings:
    """What is rewarded; metrics keep the true accuracy beside it."""

    arm: str = "correct"
    """correct; or a control: format (an answer of any value), random, majority (of the group's answers), incorrect (a wrong answer)."""
    gamma: float = 0.5
    """Chance of a random reward."""


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, constant learning rate after a linear warm-up."""

    learning_rate: float = 1e-4
    """After the warm-up."""
    warmup_steps: int = 0
    """Steps of linear warm-up, counted in rollout steps."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Of AdamW's two moments, each from 0 to below 1."""
    eps: float = 1e-8
    """AdamW's, above 0."""
    weight_decay: float = 0.0
    """AdamW's, decoupled."""
    max_grad_norm: float = 1.0
    """A longer gradient is scaled down to this norm."""
    minibatches: int = 1
    """Optimizer steps a rollout batch; with 1 every importance ratio is 1 and clipping does nothing."""
    micro_batch_rows: int = 128
    """Sequences a forward pass, at most; changes memory and speed, never the gradient."""


@dataclass(frozen=True)
class LoraSettings:
    """Adapters in place of all the weights (LoRA, arXiv 2106.09685); needs the extra peft."""

    rank: int = 0
    """Of the adapters; 0 to train all weights."""
    alpha: float = 32.0
    """Their scale is alpha / rank."""
    target_modules: tuple[str, ...] = ()
    """Names of linear layers, such as q_proj; none for all but the output layer."""


@dataclass(frozen=True)
class ProbeSettings:
    """Boundary measurement while training, on the task's probe split."""

    every: int = 0
    """Steps between probes; 0 for none."""
    problems: int = 64
    """Problems of a probe, the same ones each time, of the first of task.levels."""
    samples: int = 64
    """Completions of each."""
    keep_best: bool = False
    """Keep the checkpoint with the best pass@k at the largest k probed, and name it in best.json."""


@dataclass(frozen=True)
class StageSettings:
    """A part of a run: so many steps with some fields changed."""

    steps: int
    """How long it is."""
    change: dict[str, Any] = field(default_factory=dict)
    """Fields as in a recipe, such as {rollout: {temperature: 1.2}}; what is not named stays as in the recipe."""
    reset: tuple[str, ...] = ()
    """At its first step: reference (becomes the present model), optimizer (forgets its moments)."""


@dataclass(frozen=True)
class ResetSettings:
    """Resets at fixed steps (ProRL, arXiv 2505.24864); at a trigger they are rules of the guard."""

    reference_every: int = 0
    """Steps after which the present model becomes the reference, again and again; 0 for never."""
    optimizer_every: int = 0
    """Steps after which AdamW's moments are forgotten; 0 for never."""


@dataclass(frozen=True)
class GuardSettings:
    """One rule: when a probe shows this, do that."""

    when: str
    """narrowed: pass@k of the probe problems is surely below that of step 0; plateau: no better pass@1 for `patience` probes."""
    do: tuple[str, ...] = ("warn",)
    """warn, stop, reset_reference, reset_optimizer, return_to_reference, return_to_best, change; done in the order listed."""
    change: dict[str, Any] = field(default_factory=dict)
    """Fields for `change`, such as {objective: {name: grpo-n}}, {rollout: {temperature: 1.2}}."""
    k: int = 0
    """Of pass@k; 0 for half the probe's samples."""
    confidence: float = 0.95
    """That no look of the whole run calls narrowed what is not."""
    patience: int = 3
    """Probes in a row without a better pass@1, for plateau."""
    times: int = 1
    """How often it acts."""


@dataclass(frozen=True)
class TrainSettings:
    """A training run."""

    steps: int
    """Rollout steps; each is optimizer.minibatches steps of the optimizer."""
    model: str = "base"
    """A Hugging Face model folder, or an embedded one: `base` (countdown), `base:families`."""
    bf16: bool = False
    """Products with weights in bfloat16, in the update and in the native engine; weights, gradients, moments, attention on a
    CPU, the output layer and the softmax stay float32."""
    seed: int = 0
    """Of problems, samples, mini-batches and adapters."""
    task: TaskSettings = field(default_factory=TaskSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    reward: RewardSettings = field(default_factory=RewardSettings)
    external: ExternalSettings = field(default_factory=ExternalSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    resets: ResetSettings = field(default_factory=ResetSettings)
    stages: tuple[StageSettings, ...] = ()
    """Together `steps` steps; none for one stage."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    guard: tuple[GuardSettings, ...] = ()
    checkpoint_every: int = 50
    """Steps between checkpoints; the last step is always kept."""
    warn_after: int = 20
    """Steps in a row with all rewards equal after which the run warns; 0 for never."""
    max_bad_steps: int = 5
    """Consecutive updates whose gradient is not finite (each skipped) after which the run stops."""

    def __post_init__(self) -> None:
        check_bounds(self)
        self._check_sizes()
        if self.rollout.num_generations + self.external.per_group < 1:
            raise InputError(
                "rollout.num_generations: 0, and external.per_group is 0 too; a group needs at least one text"
            )
        if self.rollout.num_prompts % self.optimizer.minibatches:
            raise InputError(
                f"optimizer.minibatches: {self.optimizer.minibatches} does not divide rollout.num_prompts "
                f"{self.rollout.num_prompts}; change one of them"
            )
        self._check_schedule()
        if not self.task.levels:
            raise InputError("task.levels: empty; name at least one level")
        twice = [level for level in self.task.levels if self.task.levels.count(level) > 1]
        if twice:
            raise InputError(f"task.levels: {twice[0]} occurs more than once; name each level once")

    def _check_schedule(self) -> None:
        total = sum(stage.steps for stage in self.stages)
        if self.stages and total != self.steps:
            raise InputError(f"stages: {total} steps together, but steps is {self.steps}; make them equal")
        for i, stage in enumerate(self.stages):
            if stage.steps < 1:
                raise InputError(f"stages.{i}.steps: {stage.steps} is below 1; give 1 or more, or leave the stage out")
            _known(f"stages.{i}.reset", stage.reset, RESETS)
        if self.rollout.engine not in ENGINES:
            raise unknown_name("rollout.engine", self.rollout.engine, ENGINES)
        self._check_server()
        if self.reward.arm not in ARMS:
            raise unknown_name("reward.arm", self.reward.arm, ARMS)
        if not 0 <= self.reward.gamma <= 1:
            raise InputError(f"reward.gamma: {self.reward.gamma} is no probability; give a number from 0 to 1")
        low, high = self.task.rates
        if not 0 <= low <= high <= 1:
            raise InputError(f"task.rates: [{low}, {high}]; give two shares from 0 to 1, the lower first")
        if (low, high) != (0, 1) and not self.task.measured:
            raise InputError(
                "task.rates: chooses by a measured model's success rate; name it in task.measured, STORE#MODEL"
            )
        if (self.guard or self.probe.keep_best) and not self.probe.every:
            raise InputError(
                "probe.every: 0, but the guard (or probe.keep_best) reads probes; give the steps between them"
            )
        self._check_guard()

    def _check_server(self) -> None:
        server = self.rollout.server
        _known("rollout.server.kind", (server.kind,), SERVERS)
        _known("rollout.server.dtype", (server.dtype,), DTYPES)
        if self.rollout.engine != "server":
            return
        if not server.url.startswith(("http://", "https://")) or "@" in server.url:
            raise InputError(
                f"rollout.server.url: {server.url!r} is not an address of the kind http://localhost:8000; give one, and a key, if it "
                "wants one, in the environment variable OFFLEASH_API_KEY"
            )
        if not server.folder.startswith("/"):
            raise InputError(
                f"rollout.server.folder: {server.folder!r} is no absolute path; name a folder that the trainer and the server both see"
            )

    def _check_guard(self) -> None:
        for i, rule in enumerate(self.guard):
            if not rule.do:
                raise InputError(f"guard.{i}.do: empty; name at least one of {', '.join(ACTIONS)}")
            _known(f"guard.{i}.when", (rule.when,), WHEN)
            _known(f"guard.{i}.do", rule.do, ACTIONS)
            if bool(rule.change) != ("change" in rule.do):
                raise InputError(f"guard.{i}.change: goes with `change` in do, and the other way round")
            if not 0.5 < rule.confidence < 1:
                raise InputError(f"guard.{i}.confidence: {rule.confidence}; give a number between 0.5 and 1")
            if not 0 <= rule.k <= self.probe.samples:
                raise InputError(
                    f"guard.{i}.k: {rule.k}; a probe has {self.probe.samples} samples of each problem: give a k up to that "
                    "(0 for half of them), or raise probe.samples"
                )
            if "return_to_best" in rule.do and not self.probe.keep_best:
                raise InputError(
                    f"guard.{i}.do: return_to_best, but probe.keep_best is false, so no best checkpoint is kept; set it to true"
                )

    def _check_sizes(self) -> None:
        sizes = {
            "rollout.num_prompts": self.rollout.num_prompts,
            "rollout.num_generations": self.rollout.num_generations,
            "external.per_group": self.external.per_group,
        }
        for name, value in sizes.items():
            if not 0 <= value <= LARGEST:
                raise InputError(f"{name}: {value} is not between 0 and {LARGEST}")
        texts = self.rollout.num_prompts * (self.rollout.num_generations + self.external.per_group)
        if texts > LARGEST:
            raise InputError(
                f"rollout.num_prompts: times rollout.num_generations (and external.per_group) it is {texts} texts a step; "
                f"at most {LARGEST}"
            )
