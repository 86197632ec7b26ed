"""A data set of reasoning-gym with settings of one's own, in its name: `reasoning-gym/chain_sum:max_digits=1,answer=number`.

Everything that decides what a model is asked and how its text is read stands in the name, so the same name in a recipe, in
`offleash sample` and in a store is the same task.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from offleash.core import InputError

Value = bool | int | float | str

PROMPTS = {
    "tags": "{question}\n\nGive the final answer between <answer> and </answer>.",
    "final": "{question}\nReply with only the final answer.",
    # One user's turn in ChatML, as SmolLM2-Instruct and Qwen-Instruct were trained on it, without a system's turn.
    "chatml": "<|im_start|>user\n{question}\nReply with only the final answer.<|im_end|>\n<|im_start|>assistant\n",
    # The same as SmolLM2's own chat template writes it, which adds a system's turn.
    "smollm2": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{question}\nReply with only the final answer.<|im_end|>\n<|im_start|>assistant\n",
}
"""What is sent for a question, by name. A task's name may hold such a text itself, as its last setting."""
ANSWERS = ("tags", "number")
_PROMPT = "prompt="


@dataclass(frozen=True)
class Variant:
    """How a data set is asked for; the default is the data set's own configuration."""

    config: dict[str, Value] = field(default_factory=dict)
    """Fields of the data set's own configuration, such as max_digits."""
    answer: str = "tags"
    """tags: what stands between <answer> and </answer>, else the whole text; number: the last number of the text."""
    prompt: str = "tags"
    """A name of `PROMPTS`, or a text with {question} in it."""

    @property
    def text(self) -> str:
        """The prompt's text."""
        return PROMPTS.get(self.prompt, self.prompt)

    @property
    def name(self) -> str:
        """The settings in the form that `read` takes, in one order; "" for the default."""
        parts = [
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in sorted(self.config.items())
        ]
        parts += [f"answer={self.answer}"] if self.answer != "tags" else []
        parts += [f"{_PROMPT}{self.prompt}"] if self.prompt != "tags" else []
        return ",".join(parts)


def read(text: str) -> Variant:
    """The variant that `key=value,key=value` asks for; `answer` and, last, `prompt` are ours, all else is the data set's.

    Raises:
        InputError: a part that is no key=value, or an unknown answer form or prompt.

    >>> read("max_digits=1,answer=number,prompt=final")
    Variant(config={'max_digits': 1}, answer='number', prompt='final')
    """
    rest, prompt = _split_prompt(text)
    given: dict[str, Value] = {}
    for part in rest.split(",") if rest else ():
        key, equals, value = part.partition("=")
        if not (key.isidentifier() and equals and value) or key in given:
            raise InputError(
                f"task: {part!r} is no setting, or one that is given twice; write key=value with commas between, such as "
                "reasoning-gym/chain_sum:max_terms=2,max_digits=1"
            )
        given[key] = _value(value)
    answer = str(given.pop("answer", "tags"))
    if answer not in ANSWERS:
        raise InputError(f"task: answer={answer} is not one of {', '.join(ANSWERS)}")
    if prompt not in PROMPTS and prompt.count("{question}") != 1:
        raise InputError(
            f"task: prompt={prompt!r} is no name of a prompt ({', '.join(PROMPTS)}), nor a text with {{question}} in it once"
        )
    return Variant(given, answer, prompt)


def _split_prompt(text: str) -> tuple[str, str]:
    """What comes before the prompt, and the prompt, which may hold commas: it is the last setting."""
    if text.startswith(_PROMPT):
        return "", text[len(_PROMPT) :]
    rest, mark, prompt = text.partition(f",{_PROMPT}")
    return rest, prompt if mark else "tags"


def _value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    if not text.isascii() or "_" in text:  # digits of other alphabets, 1_000: numbers to Python alone
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
