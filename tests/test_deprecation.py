"""Old public names: each works as the new one does, and says what that is called."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import attention_analyzer
from attention_analyzer import AttentionAnalyzer, attribution, heads, interventions
from attention_analyzer.deprecation import renamed, renamed_arguments
from attention_analyzer.errors import InputError
from attention_analyzer.results import Corpus
from attention_analyzer.training import History

TEXTS = ["The cat sat on the mat.", "A dog ran to the cat.", "The mat was red and the dog was not."]

#: Old name → new name, by module.
NAMES = {
    "attention_analyzer": {"compare_several": "compare_models"},
    "attention_analyzer.comparison": {"SeveralModels": "MultiModelComparison"},
    "attention_analyzer.comparison.multi": {"SeveralModels": "MultiModelComparison"},
    "attention_analyzer.heads": {"Specialisation": "DepthProfile"},
    "attention_analyzer.patterns": {"LabelTable": "HeadLabels"},
    "attention_analyzer.patterns.labels": {"LabelTable": "HeadLabels"},
    "attention_analyzer.results": {
        "LabelTable": "HeadLabels",
        "SeveralModels": "MultiModelComparison",
        "Specialisation": "DepthProfile",
    },
    "attention_analyzer.training": {"EveryStep": "EveryNSteps", "Timed": "EveryNSeconds"},
    "attention_analyzer.training.schedule": {"EveryStep": "EveryNSteps", "Timed": "EveryNSeconds"},
}


@pytest.fixture(scope="module")
def analyzer() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.mark.parametrize(
    ("module", "old", "new"), [(module, old, new) for module, names in NAMES.items() for old, new in names.items()]
)
def test_an_old_name_is_the_new_one(module: str, old: str, new: str) -> None:
    package = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"^{old} was renamed to {new};") as caught:
        value = getattr(package, old)
    assert value is getattr(package, new)
    assert caught[0].filename == __file__, "the warning points at the line that uses the old name"
    assert old not in package.__all__ if hasattr(package, "__all__") else True


@cache
def scanned(analyzer: AttentionAnalyzer) -> TemporaryDirectory[str]:
    folder = TemporaryDirectory()
    analyzer.scan(TEXTS, folder.name, progress=False)
    return folder


#: Old call and new call with equal results, and what the warning says.
CALLS: list[tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = [
    (
        lambda a: a.specialisation(TEXTS).to_frame(),
        lambda a: a.depth_profile(TEXTS).to_frame(),
        "specialisation was renamed to depth_profile",
    ),
    (
        lambda a: heads.specialisation(a.loaded, TEXTS).to_frame(),
        lambda a: a.depth_profile(TEXTS).to_frame(),
        "specialisation was renamed to depth_profile",
    ),
    (
        lambda a: (
            importlib.import_module("attention_analyzer.comparison")
            .compare_several([a, "demo-decoder-history/early"], texts=TEXTS[0])
            .to_frame()
        ),
        lambda a: attention_analyzer.compare_models([a, "demo-decoder-history/early"], texts=TEXTS[0]).to_frame(),
        "compare_several was renamed to compare_models",
    ),
    (
        lambda a: a.patterns(TEXTS, probes=False).table,
        lambda a: a.label_heads(TEXTS, probes=False).table,
        "patterns was renamed to label_heads",
    ),
    (
        lambda _: History.open("demo-decoder-history").table,
        lambda _: History.load("demo-decoder-history").table,
        "History.open was renamed to History.load",
    ),
    (
        lambda a: Corpus.open(scanned(a).name).heads("entropy"),
        lambda a: Corpus.load(scanned(a).name).heads("entropy"),
        "Corpus.open was renamed to Corpus.load",
    ),
    (
        lambda a: a.what_if(TEXTS[0], silence="L1H2").table,
        lambda a: a.what_if(TEXTS[0], ablate="L1H2").table,
        "silence= was renamed to ablate=",
    ),
    (
        lambda a: a.record(TEXTS[0]).what_if(replace={"L1H2": "uniform"}).table,
        lambda a: a.record(TEXTS[0]).what_if(patch={"L1H2": "uniform"}).table,
        "replace= was renamed to patch=",
    ),
    (
        lambda a: a.what_if(TEXTS[0], ablate="L1H2", silence_with="mean").table,
        lambda a: a.what_if(TEXTS[0], ablate="L1H2", ablation="mean").table,
        "silence_with= was renamed to ablation=",
    ),
    (
        lambda a: interventions.what_if(a.loaded, TEXTS[0], silence="L1H2").table,
        lambda a: interventions.what_if(a.loaded, TEXTS[0], ablate="L1H2").table,
        "silence= was renamed to ablate=",
    ),
    (
        lambda a: a.head_importance(TEXTS, "silence", heads=["L1"]).table,
        lambda a: a.head_importance(TEXTS, "ablation", heads=["L1"]).table,
        "'silence' was renamed to 'ablation'",
    ),
    (
        lambda a: heads.head_importance(a.loaded, TEXTS, method="silence", heads=["L1"]).table,
        lambda a: heads.head_importance(a.loaded, TEXTS, method="ablation", heads=["L1"]).table,
        "'silence' was renamed to 'ablation'",
    ),
    (
        lambda a: a.pruning_curve([*TEXTS, TEXTS[0]], method="silence", shares=(0, 1)).table,
        lambda a: a.pruning_curve([*TEXTS, TEXTS[0]], method="ablation", shares=(0, 1)).table,
        "'silence' was renamed to 'ablation'",
    ),
    (
        lambda a: a.token_importance(TEXTS[0], "rollout_normalised").table,
        lambda a: a.token_importance(TEXTS[0], "rollout_normalized").table,
        "'rollout_normalised' was renamed to 'rollout_normalized'",
    ),
    (
        lambda a: a.get_token_importance(TEXTS[0], unit="piece"),
        lambda a: a.get_token_importance(TEXTS[0], unit="token"),
        "'piece' was renamed to 'token'",
    ),
    (
        lambda a: a.token_importance(TEXTS[0], "gradient_attention", target="written:3").table,
        lambda a: a.token_importance(TEXTS[0], "gradient_attention", target="position:3").table,
        "'written:3' was renamed to 'position:3'",
    ),
    (
        lambda a: attribution.token_importance(a.loaded, TEXTS[0], method="gradient_attention", target="token:2").table,
        lambda a: (
            attribution.token_importance(a.loaded, TEXTS[0], method="gradient_attention", target="hidden:2").table
        ),
        "'token:2' was renamed to 'hidden:2'",
    ),
    (
        lambda a: a.compare_attributions(TEXTS[0], methods=["rollout_normalised"], seeds=2).table,
        lambda a: a.compare_attributions(TEXTS[0], methods=["rollout_normalized"], seeds=2).table,
        "'rollout_normalised' was renamed to 'rollout_normalized'",
    ),
    (
        lambda _: attribution.attribution_named("rollout_normalised").name,
        lambda _: attribution.attribution_named("rollout_normalized").name,
        "'rollout_normalised' was renamed to 'rollout_normalized'",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), CALLS, ids=[message for *_, message in CALLS])
def test_an_old_call_gives_what_the_new_one_gives(
    analyzer: AttentionAnalyzer, old: Callable[[Any], Any], new: Callable[[Any], Any], message: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the new one does not warn, whatever it calls
        expected = new(analyzer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = old(analyzer)
    told = [each for each in caught if issubclass(each.category, DeprecationWarning)]
    assert [str(each.message).split(";")[0] for each in told] == [message]
    assert told[0].filename == __file__, "the warning points at the line that uses the old name"
    assert result.equals(expected) if hasattr(result, "equals") else result == expected


def test_the_changelog_lists_every_old_name() -> None:
    text = (Path(__file__).resolve().parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    table = text.partition("### Renamed")[2]
    for names in NAMES.values():
        for old, new in names.items():
            assert re.search(rf"^\|.*\b{old}\b.*\|.*\b{new}\b.*\|$", table, re.MULTILINE), old


def test_a_keyword_under_both_names_is_refused() -> None:
    @renamed_arguments({"old": "new"})
    def function(*, new: int = 0) -> int:
        return new

    assert function(new=3) == 3
    with pytest.warns(DeprecationWarning, match=r"^old= was renamed to new="):
        assert function(old=4) == 4
    with pytest.raises(InputError, match="old= is the old name of new="):
        function(old=4, new=5)


def test_old_values_are_renamed_wherever_they_stand() -> None:
    @renamed_arguments(values={"value": {"old": "new", "was:": "is:"}})
    def function(value: object, other: object = None) -> object:
        return value, other

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in ("new", 3, "was", ["new"], None):
            assert function(value, "old") == (value, "old")
    for old, new in (("old", "new"), ("was:3", "is:3"), (["x", "old"], ["x", "new"]), (("old",), ("new",))):
        with pytest.warns(DeprecationWarning, match="was renamed to") as caught:
            assert function(old) == function(value=new) == (new, None)
        assert caught[0].filename == __file__
        with pytest.warns(DeprecationWarning, match="was renamed to"):
            assert function(value=old, other=1) == (new, 1)


def test_an_old_function_keeps_its_signature() -> None:
    def new(text: str, *, count: int = 2) -> str:
        return text * count

    old = renamed(new, "old")
    assert old.__name__ == "old"
    with pytest.warns(DeprecationWarning, match="old was renamed to new"):
        assert old("a", count=3) == "aaa"


def test_the_package_itself_may_not_use_old_names() -> None:
    code = "from attention_analyzer.deprecation import warn_renamed\nwarn_renamed('a', 'b', stacklevel=2)"
    with pytest.raises(DeprecationWarning):
        exec(code, {"__name__": "attention_analyzer.heads.depth", "__file__": "depth.py"})
