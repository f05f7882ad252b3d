"""Arguments of a wrong type: one sentence that names the argument, wherever the call would have failed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from attention_analyzer import AttentionAnalyzer, AttentionRecord, compare, load_model
from attention_analyzer.arguments import explain, explain_arguments
from attention_analyzer.errors import AttentionAnalyzerError, InputError

WRONG: tuple[Any, ...] = (None, 3, 1.5, "x", b"ab", [], [None], {}, True, object(), ["a"], [1], range(3), {1, 2}, len)


@explain_arguments
class Example:
    """Stands for a public class."""

    def __init__(self, size: int = 1) -> None:
        self.size = size + 0

    def twice(self, values: Sequence[int], name: str = "a") -> list[int]:
        return [2 * value + 0 for value in values] + [len(name)]

    @classmethod
    def of(cls, size: int) -> Example:
        return cls(size)

    def fails(self, values: Sequence[int]) -> None:
        raise KeyError("of its own")


def test_the_argument_that_does_not_fit_is_named_with_what_is_expected() -> None:
    with pytest.raises(InputError, match=r"twice\(\) takes Sequence\[int\] for 'values', but 3 was given"):
        Example().twice(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="takes str for 'name', but a value of type object was given"):
        Example().twice([1], object())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'size', but 'x'"):
        Example("x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'size', but None"):
        Example.of(None)  # type: ignore[arg-type]


def test_what_works_is_not_checked_and_other_errors_stay_as_they_are() -> None:
    assert Example().twice(iter([1, 2])) == [2, 4, 1]  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="of its own"):
        Example().fails([1])
    with pytest.raises(TypeError, match="unexpected keyword"):
        Example().twice([1], unknown=1)  # type: ignore[call-arg]


def test_signatures_and_docstrings_stay() -> None:
    def plain(text: str, *, size: int = 3) -> None:
        """Says."""

    assert inspect.signature(explain(plain)) == inspect.signature(plain)
    assert explain(plain).__doc__ == "Says."


def test_annotations_that_only_type_checkers_import_are_known() -> None:
    record = AttentionAnalyzer("demo-encoder").record("A short text.")
    with pytest.raises(InputError, match=r"view\(\) takes .*Annotations.* for 'annotations', but 'x' was given"):
        record.view(annotations="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        ("weights", "layer"),
        ("weights", "head"),
        ("heads", "metrics"),
        ("patterns", "patterns"),
        ("what_if", "ablate"),
        ("what_if", "knock_out"),
        ("what_if", "patch"),
        ("what_if", "target"),
        ("what_if", "position"),
        ("to_html", "path"),
    ],
)
def test_no_wrong_type_ends_in_an_error_of_python(call: str, parameter: str, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    record = AttentionAnalyzer("demo-decoder").record("The cat sat on the mat.")
    needed = {"layer": 0, "head": 0} if call == "weights" else {}
    for value in WRONG:
        with suppress(AttentionAnalyzerError):  # some of these values are of the right type
            getattr(record, call)(**{**needed, parameter: value})


@pytest.mark.parametrize("value", [3, 1.5, b"ab", [], {}, len])
def test_functions_are_explained_too(value: Any) -> None:
    with pytest.raises(AttentionAnalyzerError):
        compare(value, value, texts=["A text."])
    with pytest.raises(AttentionAnalyzerError):
        load_model("demo-encoder", device=value)
    with pytest.raises(AttentionAnalyzerError):
        AttentionRecord.load(value)
    with pytest.raises(AttentionAnalyzerError):
        AttentionAnalyzer.from_config(value)
