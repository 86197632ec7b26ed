"""verifiers and prime-rl: `traces.jsonl` (an episode a line), traces (one a line), and the older `results.jsonl`.

    episode  id, env, task, traces; a trace is a sample of its agent
    trace    task, agent, nodes, rewards: what prime-rl writes to rollouts/step_N/
    result   example_id, prompt, completion, reward; verifiers before 0.2, and its legacy environments since

Rewards are sums of weighted parts, so they need a threshold unless they are 0 or 1. A sample that ended in an error has no
verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from offleash.core import InputError
from offleash.store.importers.base import Chosen, Log, Sample, Shape, digest, is_score, number, question
from offleash.store.importers.reading import json_lines
from offleash.store.importers.steps import STEP, choose_file

_EPISODE = frozenset({"env", "task", "traces"})
_TRACE = frozenset({"task", "agent", "nodes", "rewards"})
_RESULT = frozenset({"example_id", "prompt", "completion", "reward"})

Row = dict[str, Any]


class Verifiers:
    """Lines of episodes, traces or results; the problem is the task, the score the reward or one of its parts."""

    name = "verifiers rollouts"
    sign = (
        "JSON lines with env, task, traces; or task, agent, nodes, rewards; or example_id, prompt, completion, reward"
    )
    choices = ("metric", "agent", "step", "model")
    suffixes = (".jsonl",)

    def fits(self, shape: Shape) -> bool:
        """Whether a file of this shape is of this format."""
        return shape.kind == "lines" and any(shape.fields >= keys for keys in (_EPISODE, _TRACE, _RESULT))

    def read(self, paths: Sequence[Path], chosen: Chosen) -> Log:
        """The file of the chosen or the last step."""
        notes: list[str] = []
        path = choose_file([(path, _step(path)) for path in paths], chosen, notes)
        if "step" in chosen:
            chosen.one_of("step", [str(_step(path))])
        first = next(row for _, row in json_lines(path, []))
        if frozenset(first) >= _RESULT:
            metric = chosen.one_of("metric", _named(first), default="reward")
            if "agent" in chosen:
                chosen.one_of("agent", [])
            samples = _results(path, metric, notes)
        else:
            metric = chosen.one_of("metric", _parts(path), default="reward")
            samples = _traces(path, metric, chosen.one_of("agent", _agents(path)), notes)
        return Log(f"{path.parent.name}/{path.name}".lstrip("/"), metric, samples, notes)


def _step(path: Path) -> int:
    steps = [int(found[1]) for part in path.parts if (found := STEP.fullmatch(part))]
    return steps[-1] if steps else 0


def _field(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise InputError(f"{name}: missing in {where}; keep to the lines that verifiers wrote")
    return row[name]


def _named(row: Row) -> list[str]:
    """What a result is scored by: the reward, and the metrics, which stand beside it too."""
    return ["reward", *(row.get("metrics") or {}), *(name for name, value in row.items() if is_score(value))]


def _results(path: Path, metric: str, notes: list[str]) -> Iterator[Sample]:
    for where, row in json_lines(path, notes):
        prompt, example = _field(row, "prompt", where), _field(row, "example_id", where)
        score = (row.get("metrics") or {}).get(metric, row.get(metric))
        value = None if row.get("error") else number(score, metric, where)
        yield Sample(f"verifiers:{row.get('task') or ''}:{example}:{digest(prompt)[:8]}", value, question(prompt))


def _each(path: Path, notes: list[str]) -> Iterator[tuple[str, Row, Row]]:
    """Every trace of a file with its task and its place."""
    for where, row in json_lines(path, notes):
        if "traces" in row:
            if not row["traces"]:
                notes.append(f"{where.removeprefix(str(path.parent) + '/')}: an episode without a trace is left out")
            yield from ((where, trace.get("task") or row["task"], trace) for trace in row["traces"])
        else:
            yield where, _field(row, "task", where), row


def _agents(path: Path) -> list[str]:
    """The agents that are trained, or all where none is said to be."""
    named = [(trace.get("agent") or {}) for _, _, trace in _each(path, [])]
    trained = [agent for agent in named if agent.get("trainable", True)]
    return [str(agent.get("name", "agent")) for agent in trained or named]


def _parts(path: Path) -> list[str]:
    """What a trace is scored by: the whole reward, its parts, and the metrics."""
    names = {"reward": None}
    for _, _, trace in _each(path, []):
        names |= dict.fromkeys([*(trace.get("rewards") or {}), *(trace.get("metrics") or {})])
    return list(names)


def _traces(path: Path, metric: str, agent: str, notes: list[str]) -> Iterator[Sample]:
    others = 0
    for where, task, trace in _each(path, notes):
        if str((trace.get("agent") or {}).get("name", "agent")) != agent:
            others += 1
            continue
        data = task.get("data") or {}
        problem = task.get("key") or task.get("hash") or digest(data)
        score = number(_score(trace, metric), metric, where) if trace.get("ok", True) else None
        yield Sample(f"verifiers:{str(problem)[:32]}", score, _asked(data, trace), trace.get("id"))
    if others:
        notes.append(f"{others} traces of other agents than {agent} left out (#agent=... chooses)")


def _asked(data: Mapping[str, Any], trace: Mapping[str, Any]) -> str:
    """The task's prompt, else the first message of the user."""
    if data.get("prompt"):
        return question(data["prompt"])
    messages = [node.get("message") or {} for node in trace.get("nodes") or []]
    return question([message for message in messages if message.get("role") == "user"][:1])


def _score(trace: Mapping[str, Any], metric: str) -> Any:
    """The weighted sum of the rewards, or one of them, or a metric; None where scoring did not run."""
    rewards: Mapping[str, Any] = trace.get("rewards") or {}
    if metric in rewards:
        return (rewards[metric] or {}).get("score")
    if metric != "reward":
        return (trace.get("metrics") or {}).get(metric)
    parts = [part or {} for part in rewards.values()]
    if not parts or any(part.get("score") is None for part in parts):
        return None
    return sum(part["score"] * part.get("weight", 1.0) for part in parts)
