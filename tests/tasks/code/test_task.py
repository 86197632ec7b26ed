"""Code tasks from files: readers, extraction, the task's contract; HumanEval where its data is installed."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest

from offleash.core import InputError, Problem, rng
from offleash.tasks import Task, get
from offleash.tasks.code import CodeTask, Limits, Sandbox, humaneval, humaneval_file, mbpp, plain, program, read

FAST = Limits(cpu_seconds=2, wall_seconds=6.0)

MBPP = [
    {"task_id": 2, "text": "Add two numbers.", "code": "def add(a, b):\n    return a + b", "test_list": ["assert add(1, 2) == 3"],
     "test_setup_code": "", "challenge_test_list": ["assert add(10, 5) == 15"]},
    {"task_id": 20, "text": "Area.", "code": "import math\ndef area(r):\n    return math.pi * r * r",
     "test_setup_code": "import math", "test_list": ["assert math.isclose(area(1), math.pi)"]},
    {"task_id": 550, "prompt": "Pair.", "code": "def pair(a):\n    return (a, {a})", "test_imports": [], "test_list": ["assert pair(1) == (1, {1})"]},
    {"task_id": 700, "text": "Chain.", "code": "class P:\n    pass\ndef chain(p):\n    return 1", "test_list": ["assert chain(P()) == 1"]},
    {"task_id": 701, "text": "Raises.", "code": "def root(x):\n    if x < 0:\n        raise ValueError('no')\n    return x ** 0.5",
     "test_list": ["assert root(4) == 2", "try:\n    root(-1)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'no'"]},
]  # fmt: skip
PLAIN = [
    {"id": "double", "prompt": "Double x.", "function": "double", "solution": "def double(x):\n    return 2 * x",
     "tests": [{"args": [2], "expected": 4}, {"kwargs": {"x": "a"}, "expected": "aa"}]},
    {"id": "third", "prompt": "A third.", "function": "third", "solution": "third = lambda x: x / 3", "tolerance": 1e-6,
     "tests": [{"args": [1], "expected": 0.333333333}], "level": 2},
    {"id": "sum", "prompt": "Print the sum.", "solution": "print(sum(map(int, input().split())))",
     "tests": [{"input": "1 2 3\n", "output": "6\n"}], "split": "train"},
]  # fmt: skip


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture
def tasks(tmp_path: Path, sandbox: Sandbox) -> list[CodeTask]:
    """One task a format; all of them share the session's interpreter."""
    made = [
        read("mbpp", write(tmp_path / "m.jsonl", MBPP), mbpp),
        read("own", write(tmp_path / "p.jsonl", PLAIN), plain),
    ]
    for task in made:
        task.__dict__["sandbox"] = sandbox
    return made


def all_problems(task: CodeTask) -> list[Problem]:
    return task.everything


def test_every_gold_passes_and_every_broken_one_fails(tasks: list[CodeTask]) -> None:
    for task in tasks:
        assert isinstance(task, Task)
        assert task.rejected() == []
        found = all_problems(task)
        pairs = [
            (p, task.gold(p).replace("return ", "return not ").replace("sum(", "max(").replace("x / 3", "x / 4"))
            for p in found
        ]
        assert [v.correct for v in task.verify_many(pairs)] == [False] * len(found)
        assert math.isnan(task.guess(found[0]))
    assert [(u.key, u.reason) for u in tasks[0].left_out] == [
        ("700", "its tests make objects of the solution's class P")
    ]


def test_problems_are_those_of_the_key_and_splits_those_of_the_data(tasks: list[CodeTask], tmp_path: Path) -> None:
    task, own = tasks
    assert [len(task.listed(1, s, 0)) for s in ("pretrain", "train", "probe", "test")] == [1, 1, 1, 1]
    again = read("mbpp", write(tmp_path / "again.jsonl", MBPP[::-1]), mbpp)
    assert {p.id for p in all_problems(task)} == {p.id for p in all_problems(again)}
    assert task.generate((1, 2), 1, "test") == again.generate((1, 2), 1, "test")
    changed = [row | {"test_list": ["assert area(2) > 12"]} if row["task_id"] == 20 else row for row in MBPP]
    other = read("mbpp", write(tmp_path / "other.jsonl", changed), mbpp)
    assert len({p.id for p in all_problems(task)} & {p.id for p in all_problems(other)}) == 3
    assert own.levels == (1, 2)
    assert [p.meta["key"] for p in own.listed(1, "train", 0) if p.meta["key"] == "sum"] == ["sum"]
    with pytest.raises(InputError, match="no problem of level 2 in split 'pretrain'"):
        own.generate((1,), 2, "pretrain")
    assert own.traces((1,), 1, "train", 5) == own.traces((1,), 1, "train", 5)


@pytest.mark.slow
def test_junk_is_refused_and_never_raises(tasks: list[CodeTask]) -> None:
    generator = rng.stream("code junk")
    junk = ["", " \n", "```", "```python\n", "\0", "\ud800", "(" * 20_000, "1" * 20_000, "1e999", "x" * 200_000, "def", "```\n```\n" * 500,
            "{0.__class__}", "%s" * 100, "return True", "import os; os._exit(0)", "raise SystemExit"]  # fmt: skip
    junk += [bytes(generator.integers(1, 256, size=40).tolist()).decode("latin1") for _ in range(20)]
    for task in tasks:
        problem = all_problems(task)[0]
        verdicts = task.verify_many([(problem, text) for text in junk])
        assert {v.correct for v in verdicts} == {False}
        assert all(v.reward == 0.0 and v.reason for v in verdicts)


def test_no_program_and_too_long_a_text_are_two_reasons(tasks: list[CodeTask]) -> None:
    problem = all_problems(tasks[1])[0]
    found = tasks[1].verify_many([(problem, " \n"), (problem, "x" * 200_000)])
    assert [v.reason for v in found] == ["no program", "a text of more than 100,000 characters"]


def test_the_prompt_and_the_tests_quoted_are_no_solution(tasks: list[CodeTask]) -> None:
    for task in tasks:
        for problem in all_problems(task):
            assert task.verify(problem, problem.prompt).correct is False
            assert task.verify(problem, f"```python\n{problem.prompt}\n```").correct is False


@pytest.mark.parametrize(
    ("text", "source", "form"),
    [
        ("```python\ndef f(): pass\n```", "def f(): pass\n", "fenced"),
        ("So:\n```py\ndef f(): pass\n```\nand so:\n```\nf()\n```\n", "def f(): pass\n", "fenced"),
        ("```\nx\n```\n```\ny\n```", "y\n", "fenced"),
        ("```python\ndef f(): return '''\n```", "def f(): return '''\n", "fenced"),
        ("```python\ndef f(): pass", "def f(): pass", "fenced"),
        ("def f(): pass", "def f(): pass", "module"),
        ("~~~python\ndef f(): pass\n~~~", "def f(): pass\n", "fenced"),
        ("````python\ndef f(): return '''\n```\n'''\n````\n", "def f(): return '''\n```\n'''\n", "fenced"),
        ("````markdown\nSo:\n```python\ndef f(): pass\n```\n````", "def f(): pass\n", "fenced"),
        ("```python3 title=a.py\ndef f(): pass\n```\n", "def f(): pass\n", "fenced"),
        ("``` {.python .numbers}\ndef f(): pass\n```", "def f(): pass\n", "fenced"),
        ("~~~py\ndef f(): pass\n```\n~~~", "def f(): pass\n```\n", "fenced"),
        ("```python\ndef f(): 1\n```\nBetter:\n```python\ndef f(): (", "def f(): 1\n", "fenced"),
        ("```python\ndef g(): 1\n```\nNow:\n```python\ndef f(): 2", "def f(): 2", "fenced"),
        ("```python\ndef f(): 1\n```python\ndef f(): 2\n```", "def f(): 2\n", "fenced"),
        ("def f(): pass\n```\nThat was it, as in:\n```\nf()\n```", "def f(): pass\n", "fenced"),
        ("```python\nx\n```\nOutput:\n```text\n3\n```", "x\n", "fenced"),
        ("```\nx\n```\nRun:\n```bash\npython x.py\n```", "x\n", "fenced"),
        ("```js\nx\n```", "x\n", "fenced"),
        ("a ```inline``` b", "a ```inline``` b", "module"),
        ("```def f(): pass```", "```def f(): pass```", "module"),
        ("a" * 100_001, "", "none"),
    ],
)
def test_extraction_of_prose_prompts(text: str, source: str, form: str) -> None:
    assert program(text, "f") == (source, form)


def test_extraction_continues_a_prompt_of_code() -> None:
    prompt = "import math\n\ndef f(x):\n    '''doc'''\n"
    assert program("    return x\n\ndef g():\n    pass\n", "f", prompt) == (prompt + "    return x\n", "completion")
    assert program("    return x\n```\n", "f", prompt).source == prompt + "    return x"
    assert program("```python\ndef f(x):\n    return x\n```", "f", prompt).source.endswith(
        "\n\ndef f(x):\n    return x\n"
    )
    assert program("```\n    return x\n```", "f", prompt) == (prompt + "    return x\n", "fenced")
    assert program("    return x\n```\nIt returns x:\n```\nf(1)\n```", "f", prompt).source == prompt + "    return x"
    assert program("    return x\n~~~\n", "f", prompt).source == prompt + "    return x"
    assert program("f = abs", "f", prompt).form == "module"


def test_answers_name_programs_not_their_spacing(tasks: list[CodeTask]) -> None:
    task = tasks[1]
    problem = next(p for p in all_problems(task) if p.meta["key"] == "double")
    a, b, c = (task.verify(problem, t) for t in ("def double(x):\n    return x+x", "# so\n\ndef double(x):   \n    return x+x\n", "def double(x):\n    return 2*x"))  # fmt: skip
    assert a.answer == b.answer != c.answer and a.correct and c.correct


CALL = {"prompt": "Double x.", "function": "double", "tests": [{"args": [2], "expected": 4}]}
RUN = {"prompt": "Print the sum.", "tests": [{"input": "1 2\n", "output": "3\n"}]}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has no lines"),
        ("{", "line 1: no JSON"),
        (json.dumps(CALL) + "\n\n[1]", "line 3: a list; give one JSON object a line"),
        ('{"prompt": "a"}', "line 1: tests: has none; give a list of at least one; see docs/code-tasks.md"),
        (json.dumps(CALL | {"tests": []}), "line 1: tests: has none"),
        (json.dumps(CALL | {"tests": CALL["tests"][0]}), "line 1: tests: is a dict; give a list"),
        (json.dumps(CALL | {"tests": [{"args": [2], "expected": [{"a": math.nan}]}]}), "test 1: expected has NaN, which is equal to nothing"),
        (json.dumps(CALL | {"function": "class"}), "line 1: function: 'class' is no name of a function"),
        (json.dumps(CALL | {"prompt": "\ud800"}), "line 1: prompt: has half of a sign"),
        (json.dumps(RUN | {"solution": "'\ud800'"}), "line 1: solution: has half of a sign"),
        (json.dumps({"tests": RUN["tests"]}), "line 1: prompt: give what is asked"),
        (json.dumps(CALL | {"functon": "f"}), "line 1: unknown field 'functon'; did you mean 'function'"),
        (json.dumps(CALL | {"function": "double(x)"}), "line 1: function: 'double.x.' is no name"),
        (json.dumps(CALL | {"tests": [{"args": [2]}]}), "line 1: tests: test 1: has no 'expected'"),
        (json.dumps(CALL | {"tests": [{"args": 2, "expected": 4}]}), "line 1: tests: test 1: args is no list; give one"),
        (json.dumps(CALL | {"tests": [*CALL["tests"], {"input": "2"}]}), "test 2 of a call of double has 'input'; its fields: args"),
        (json.dumps(RUN | {"tests": CALL["tests"]}), "no `function`. has 'args'; its fields: input, output"),
        (json.dumps(RUN | {"tests": [{"input": "1", "output": 1}]}), "test 1: input and output have to be texts"),
        (json.dumps(RUN | {"tests": ["1"]}), "line 1: tests: test 1 is a str; give an object"),
        (json.dumps(RUN | {"level": "hard"}), "line 1: level: 'hard' is no whole number"),
        (json.dumps(RUN | {"level": -1}), "line 1: level: -1 is no whole number"),
        (json.dumps(RUN | {"split": "dev"}), "line 1: split: 'dev' is none of pretrain, train, probe, test"),
        (json.dumps(RUN | {"tolerance": -1}), "line 1: tolerance: -1 is no number of at least 0"),
        (json.dumps(RUN | {"solution": "print("}), "line 1: solution: does not compile .*was never closed"),
        (json.dumps(RUN | {"id": 1}) + "\n" + json.dumps(CALL | {"id": "1"}), "line 2: id: '1' is also that of line 1"),
        (json.dumps(RUN | {"id": 1}) + "\n" + json.dumps(RUN), "line 2: the same problem as on line 1; leave one out"),
        (json.dumps(RUN | {"split": "test"}) + "\n" + json.dumps(RUN | {"split": "train", "solution": "1"}), "line 2: split: the prompt is that of line 1, which is in 'test'"),
        ("\n".join([json.dumps(CALL), json.dumps(RUN | {"level": 0.5}), '{"prompt": "a"}']), r"line 2: level: .* .1 more lines are wrong."),
    ],
)  # fmt: skip
def test_every_line_of_a_file_is_checked(tmp_path: Path, text: str, match: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=match):
        assert get(f"code:{file}").levels


def test_what_may_be_left_out_may_be_null_and_signs_that_end_lines_elsewhere_do_not(tmp_path: Path) -> None:
    file = tmp_path / "good.jsonl"
    row = RUN | {"prompt": "Print\u2028the sum.", "level": None, "id": None, "function": None, "solution": None}
    other = json.dumps(RUN | {"tests": [{"input": "", "output": ""}]})
    file.write_text(f"{json.dumps(row, ensure_ascii=False)}\n{other}", encoding="utf-8-sig")  # as some editors write it
    task = read("own", file, plain)
    assert [p.level for p in task.everything] == [1, 1] and len({p.meta["key"] for p in task.everything}) == 2


def test_other_files_name_the_line_too(tmp_path: Path) -> None:
    row = {"prompt": "", "entry_point": "f", "test": "", "canonical_solution": "", "task_id": "1"}
    with pytest.raises(InputError, match="line 2: has no field 'entry_point'"):
        assert read("own", write(tmp_path / "h.jsonl", [row, {"task_id": "2"}]), humaneval).levels
    with pytest.raises(InputError, match="line 6: id: '2' is also that of line 1"):
        assert read("own", write(tmp_path / "m.jsonl", [*MBPP, MBPP[0]]), mbpp).levels
    with pytest.raises(InputError, match="no problem can be judged; the first one is left out because its tests make"):
        assert read("own", write(tmp_path / "left.jsonl", [MBPP[3]]), mbpp).levels
    with pytest.raises(InputError, match="no file"):
        assert read("own", tmp_path / "none.jsonl", plain).everything
    for name in ("mbpp", "code"):
        with pytest.raises(InputError, match=f"task {name}: needs a jsonl file"):
            assert get(name).levels
    with pytest.raises(InputError, match="has no members"):
        get("humaneval/1")


def test_a_program_without_the_function_is_told_so(tasks: list[CodeTask]) -> None:
    for task, key in zip(tasks, ("2", "double"), strict=True):
        problem = next(p for p in all_problems(task) if p.meta["key"] == key)
        verdict = task.verify(problem, "```python\ndef another(a, b=1):\n    return 3\n```")
        name = problem.meta["entry"]
        assert (verdict.correct, verdict.reason) == (False, f"the program defines no function `{name}`")


def test_a_solution_with_fences_in_it_is_accepted(tmp_path: Path, sandbox: Sandbox) -> None:
    source = "def double(x):\n    '''\n```\ndouble(2)\n```\n    '''\n    return 2 * x"
    task = read("own", write(tmp_path / "f.jsonl", [CALL | {"solution": source}]), plain)
    task.__dict__["sandbox"] = sandbox
    assert task.everything[0].answer.startswith("````python\n") and task.rejected() == []


def test_stored_problems_are_judged_without_their_file(tasks: list[CodeTask], sandbox: Sandbox) -> None:
    problem = all_problems(tasks[0])[0]
    stored = Problem(**json.loads(json.dumps({f: getattr(problem, f) for f in problem.__slots__})))
    task = get("mbpp")
    task.__dict__["sandbox"] = sandbox
    assert (
        task.verify(stored, problem.answer).correct is True and task.verify(stored, "```\npass\n```").correct is False
    )


@pytest.fixture(scope="module")
def human(sandbox: Sandbox) -> CodeTask:
    try:
        return read("humaneval", humaneval_file(), humaneval, limits=FAST, workers=2)
    except InputError as error:
        pytest.skip(str(error))


def mutated(solution: str, prompt: str) -> str | None:
    """The solution with its last return negated."""
    tree = ast.parse(prompt + solution)
    lines = (prompt + solution).splitlines()
    returns = [n for n in ast.walk(tree.body[-1]) if isinstance(n, ast.Return) and n.lineno > prompt.count("\n")]
    if not returns:
        return None
    last = max(returns, key=lambda n: n.lineno)
    value = ast.unparse(last.value) if last.value else "None"
    kept = [*lines[: last.lineno - 1], lines[last.lineno - 1][: last.col_offset] + f"return not ({value})"]
    return "\n".join(kept + lines[(last.end_lineno or last.lineno) :])[len(prompt) :]


@pytest.mark.slow
def test_humaneval_accepts_all_canonical_solutions(human: CodeTask) -> None:
    assert len(all_problems(human)) == 164
    assert human.rejected() == []


@pytest.mark.slow
def test_humaneval_refuses_empty_and_mutated_solutions(human: CodeTask) -> None:
    found = human.listed(1, "test", 0)
    texts = ["", *(mutated(human.gold(p), p.prompt) for p in found)]
    assert texts.count(None) <= 2
    pairs = [(p, "") for p in found] + [(p, t) for p, t in zip(found, texts[1:], strict=True) if t is not None]
    passed = [
        p.meta["key"] for (p, _), v in zip(pairs, human.verify_many(pairs), strict=True) if v.correct is not False
    ]
    assert passed == []


def test_humaneval_takes_chat_answers(human: CodeTask) -> None:
    problem = next(
        p for p in human.listed(1, "test", 0) if p.meta["key"] == "HumanEval/32"
    )  # its test calls a helper of the prompt
    chat = f"Sure!\n```python\n{problem.prompt}{human.gold(problem)}\n```\nExample:\n```python\nfind_zero([1, 2])\n```"
    assert human.verify(problem, chat).correct is True
    own = "```python\ndef find_zero(xs):\n    return max(range(-10, 10), key=lambda x: -abs(poly(xs, x)))\n```"
    assert human.verify(problem, own).correct is False
    assert (
        human.verify(
            problem, "```python\ndef poly(xs, x):\n    return 0\ndef find_zero(xs):\n    return 0.0\n```"
        ).correct
        is False
    )


def test_a_fence_in_a_list_item_is_unindented() -> None:
    from offleash.tasks.code.extract import program

    text = "1. Here:\n   ```python\n   def f(x):\n       return x\n   ```\n"
    assert program(text, "f").source == "def f(x):\n    return x\n"
