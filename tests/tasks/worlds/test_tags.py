"""RLVMR's tags: reading replies, and the rewards of tagged steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offleash.tasks.worlds.tags import NONE, WRONG_FORMAT, Played, parse, rewards


@pytest.mark.parametrize(
    ("text", "action", "tag", "errors"),
    [
        ("<planning>a</planning><action>look</action>", "look", "planning", ()),
        (" <explore>a</explore>\n<action> go to x </action>\n", "go to x", "explore", ()),
        ("<monitor>a</monitor><reflection>b</reflection><action>x</action>", "x", "reflection", ()),
        ("<reflection>b</reflection><explore>c</explore><planning>a</planning><action>x</action>", "x", "planning", ()),
        ("<monitor>a</monitor><action>x</action>", "x", "monitor", ()),
        ("<action>x</action>", "x", "", ("no tag",)),
        ("<explore>a</explore>", "", "explore", ("no action",)),
        ("<explore>a</explore><action></action>", "", "explore", ("an empty action",)),
        ("<explore>a</explore><action>x</action><action>y</action>", "y", "explore", ("several actions",)),
        ("so <explore>a</explore><action>x</action>", "x", "explore", ("text outside the tags",)),
        ("<explore>a<action>x</action>", "x", "", ("<action> inside <explore>", "unclosed <explore>", "no tag")),
        ("a</explore><action>x</action>", "x", "", ("stray </explore>", "text outside the tags", "no tag")),
        ("<planning><explore>a</planning><action>x</action>", "x", "planning", ("<explore> inside <planning>", "unclosed <explore>")),
        ("look", "", "", ("text outside the tags", "no action", "no tag")),
        ("<Explore>a</Explore><action>x</action>", "x", "", ("text outside the tags", "no tag")),
    ],
)  # fmt: skip
def test_replies(text: str, action: str, tag: str, errors: tuple[str, ...]) -> None:
    reply = parse(text)
    assert (reply.action, reply.tag, reply.errors) == (action, tag, errors)


def test_tags_are_counted() -> None:
    text = "<planning>a</planning><planning>b</planning><monitor>c</monitor><action>x</action>"
    assert parse(text).counts == {"planning": 2, "monitor": 1, "action": 1}


@given(
    st.lists(
        st.sampled_from(
            ["<planning>", "</planning>", "<explore>", "</explore>", "<action>", "</action>", "x", " ", "<"]
        )
    ).map("".join)
)
def test_any_reply_is_read(text: str) -> None:
    reply = parse(text)
    well_formed = not reply.errors
    assert well_formed <= (reply.counts.get("action") == 1 and bool(reply.action) and bool(reply.tag))


def step(tag: str, action: str, valid: bool = True, *errors: str) -> Played:
    return Played(tag, action, valid, errors)


def test_planning_is_paid_by_the_outcome() -> None:
    steps = [step("planning", "a"), step("planning", "a")]
    assert rewards(steps, True) == [("planning", 1.0)] * 2
    assert rewards(steps, False) == [("planning", 0.0)] * 2


def test_exploring_is_paid_once_for_an_action() -> None:
    """Repeating one valid action must get the reward only once; what was tried in vain is still new."""
    assert rewards([step("explore", "a")] * 3, False) == [("explore", 1.0), ("explore", 0.0), ("explore", 0.0)]
    assert rewards([step("explore", "a", False), step("explore", "a")], False) == [(NONE, 0.0), ("explore", 1.0)]
    assert rewards([step("planning", "a"), step("explore", "a")], False)[1] == ("explore", 0.0)


def test_reflection_is_paid_after_a_failure_that_it_corrects() -> None:
    assert rewards([step("explore", "a", False), step("reflection", "b")], False)[1] == ("reflection", 1.0)
    assert rewards([step("explore", "a", False), step("reflection", "a")], False)[1] == ("reflection", 0.0)
    assert rewards([step("explore", "a"), step("reflection", "b")], False)[1] == ("reflection", 0.0)
    assert rewards([step("explore", "a", False), step("reflection", "b", False)], False)[1] == (NONE, 0.0)
    assert rewards([step("reflection", "b")], False) == [("reflection", 0.0)]


def test_monitoring_and_wrong_forms_are_of_no_kind() -> None:
    steps = [step("monitor", "a"), step("explore", "b", True, "no action"), step("explore", "c", False)]
    assert rewards(steps, True) == [(NONE, 0.0), (NONE, WRONG_FORMAT), (NONE, 0.0)]
