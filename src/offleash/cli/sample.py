"""`offleash sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
\b
Examples:
  offleash sample --model base --task countdown --level 5 --n 256 --out runs/store
  offleash sample --model runs/grpo/checkpoints/step_200 --task countdown --level 5 --n 256 --out runs/store
  offleash sample --engine openai --endpoint http://gpu1:8000/v1 --model Qwen/Qwen3-4B --task countdown --n 64 --out runs/store

Stopped at any moment, the same command fills in what is missing; a larger --n adds to what is there.
"""


MainLevel = Annotated[
    int | None,
    typer.Option(help="Difficulty level; without it the task's main one (5 for countdown).", show_default=False),
]


def sample(
    model: Annotated[
        str, typer.Option(help="A model folder, `base` or `base:families` for an embedded one, or a server's model.")
    ],
    task: Annotated[str, typer.Option(help="A task of `offleash tasks`.")],
    n: Annotated[int, typer.Option(help="Verified completions of each problem.")],
    out: Annotated[Path, typer.Option(help="Store folder, new or to be filled up.")],
    level: MainLevel = None,
    problems: Annotated[int, typer.Option(help="How many problems.")] = 100,
    split: Annotated[str, typer.Option(help="pretrain, train, probe or test.")] = "test",
    seed: Annotated[int, typer.Option(help="Chooses the problems and the samples.")] = 0,
    engine: Annotated[str, typer.Option(help="native, hf, vllm (a model folder) or openai (a server).")] = "native",
    temperature: Annotated[float, typer.Option(help="0 takes the most likely token.")] = 1.0,
    max_completion_length: Annotated[int, typer.Option(help="Tokens, the end token included.")] = 32,
    stop: Annotated[
        list[str] | None, typer.Option(help="A string that ends a completion; may be repeated.", show_default=False)
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="openai: a server's address, like http://host:8000/v1; may be repeated.", show_default=False),
    ] = None,
    api: Annotated[str | None, typer.Option(help="openai: completions (default) or chat.", show_default=False)] = None,
    body: Annotated[
        str, typer.Option(help="openai: more fields of every request, a JSON object.", show_default=False)
    ] = "",
    concurrency: Annotated[
        int | None, typer.Option(help="openai: requests at one time on each endpoint (16).", show_default=False)
    ] = None,
    logprobs: Annotated[
        str | None,
        typer.Option(help="openai: what the server's are of: raw (default), sampling, off.", show_default=False),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="openai: variable with the key (OFFLEASH_API_KEY).", show_default=False)
    ] = None,
    label: Annotated[str | None, typer.Option(help="A name for the model in reports.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fill a store with n verified completions of each problem."""
    from offleash.jobs import sample as job

    job.run(
        model=model,
        task=task,
        level=level,
        n=n,
        out=out,
        problems=problems,
        split=split,
        seed=seed,
        engine=engine,
        temperature=temperature,
        max_completion_length=max_completion_length,
        stop=stop or (),
        options=job.server_options(
            engine, endpoint or (), body, concurrency, api=api, logprobs=logprobs, api_key_env=api_key_env
        ),
        label=label,
        as_json=as_json,
    )


sample.__doc__ = f"{sample.__doc__}\n{EXAMPLES}"
