"""verifiers' traces: `Episode` and `write_episode` of verifiers itself, on rewards set by hand.

python3.11 -m venv verifiers-env && verifiers-env/bin/pip install verifiers==0.4.0
verifiers-env/bin/python tests/golden/peers/make_verifiers.py

base, tuned   traces.jsonl, one reward; one trace of tuned failed before it was scored
shaped        two weighted rewards and two agents, one of which is not trained; two questions
prime_rl      two questions as single traces (`Trace.to_record`) in rollouts/step_N/train_rollouts.jsonl, where prime-rl puts them; prime-rl
              itself is on no package index, so the folder and the one-trace lines follow its documentation
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import verifiers.v1 as vf
from verifiers.v1.configs.agent import WireAgentConfig
from verifiers.v1.episode import EnvInfo, Episode
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import AgentInfo, Trace, TraceTask
from verifiers.v1.types import AssistantMessage, UserMessage
from verifiers.v1.utils.trace_store import write_episode

sys.path.insert(0, str(Path(__file__).parent))
from problems import ANSWERS, CORRECT, EARLIER, HERE, QUESTIONS, WRONG, outputs, record


def trace(problem: int, text: str, *, agent: str = "agent", trainable: bool = True) -> Any:
    data = vf.TaskData(idx=problem, prompt=QUESTIONS[problem])
    task = vf.Task(data)
    made = Trace(
        task=TraceTask(type="Task", data=data, key=task.key, hash=task.hash),
        agent=AgentInfo(config=WireAgentConfig(), name=agent, trainable=trainable),
        nodes=[
            MessageNode(message=UserMessage(content=QUESTIONS[problem])),
            MessageNode(message=AssistantMessage(content=text), parent=0, sampled=True),
        ],
    )
    made.ok = True
    return made


def run(name: str, correct: tuple[int, ...], *, shaped: bool = False) -> None:
    folder = HERE / "verifiers" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i, (problem, text) in enumerate(outputs(correct)):
        solver = trace(problem, text, agent="solver" if shaped else "agent")
        traces = [solver]
        if name == "tuned" and i == 0:
            solver.record_error(RuntimeError("the sandbox is gone"))
            solver.errors[-1].traceback = None
        else:
            solver.record_reward("exact", float(text == ANSWERS[problem]))
        if shaped:
            solver.record_reward("format", 1.0, weight=0.1)
            solver.record_metric("turns", 1.0)
            judge = trace(problem, "fine", agent="judge", trainable=False)
            judge.record_reward("agreement", 1.0)
            traces.append(judge)
        write_episode(folder, Episode(env=EnvInfo(id="arithmetic"), task=solver.task, traces=traces, ok=solver.ok))


def prime_rl(name: str, step: int, correct: tuple[int, ...]) -> None:
    folder = HERE / "verifiers" / "prime_rl" / name / "rollouts" / f"step_{step}"
    folder.mkdir(parents=True)
    lines = []
    for problem, text in outputs(correct):
        made = trace(problem, text)
        made.record_reward("exact", float(text == ANSWERS[problem]))
        made.info["prime_rl"] = {"step": step}
        lines.append(json.dumps(made.to_record()) + "\n")
    (folder / "train_rollouts.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    run("base", CORRECT["base"])
    run("tuned", CORRECT["tuned"])
    run("shaped", CORRECT["base"][:2], shaped=True)
    shutil.rmtree(HERE / "verifiers" / "prime_rl", ignore_errors=True)
    prime_rl("base", 1, EARLIER["base"][:2])
    for side in ("base", "tuned"):
        prime_rl(side, 2, CORRECT[side][:2])
    assert WRONG not in ANSWERS
    record("verifiers", "verifiers", "pydantic")
