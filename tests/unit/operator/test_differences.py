"""Comparisons of JSON values."""

from typing import Any

import pytest

from customizer_operator.differences import is_within, merge_patch


@pytest.mark.parametrize(
    ("desired", "present", "within"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {}, False),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, False),
        ({"a": [{"n": 1}]}, {"a": [{"n": 1, "defaulted": True}]}, True),
        ({"a": {}}, {"a": "text"}, False),
    ],
)
def test_what_others_added_does_not_matter(desired: Any, present: Any, within: bool) -> None:
    assert is_within(desired, present) is within


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, {"a": {"y": None}}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_a_patch_says_what_changes_and_nulls_what_must_vanish(old: Any, new: Any, patch: Any) -> None:
    assert merge_patch(old, new) == patch
