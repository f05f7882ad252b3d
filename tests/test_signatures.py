"""Methods that forward to a function: the same keywords with the same defaults, and every one of them passed on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from attention_analyzer import AttentionAnalyzer, AttentionRecord, errors

ANALYZER: dict[str, tuple[str, str]] = {
    "generate": ("analyzer", "generate"),
    "label_heads": ("patterns.labels", "label_heads"),
    "cache_advice": ("patterns.cache_advice", "cache_advice"),
    "token_importance": ("attribution", "token_importance"),
    "compare_attributions": ("attribution", "compare_attributions"),
    "depth_profile": ("heads", "depth_profile"),
    "similarity": ("heads", "similarity"),
    "head_importance": ("heads", "head_importance"),
    "pruning_curve": ("heads", "pruning_curve"),
    "programs": ("programs.find", "programs"),
    "replace_by_program": ("programs.replace", "replace_by_program"),
    "what_if": ("interventions", "what_if"),
    "effects": ("mechanism.effects", "effects"),
    "why": ("mechanism.why", "why"),
    "patch": ("mechanism.patching", "patch"),
    "circuit": ("mechanism.circuit", "circuit"),
    "compare": ("comparison", "compare"),
    "relations": ("linguistics", "relations"),
    "scan": ("corpus", "scan"),
    "retrieval_heads": ("sources", "retrieval_heads"),
    "suppression": ("sources", "suppression"),
}
RECORD: dict[str, tuple[str, str]] = {
    "between": ("parts", "between"),
    "to_html": ("view.html", "write_html"),
    "html": ("view.html", "html_text"),
    "view": ("view.widget", "AttentionWidget"),
    "what_if": ("interventions.what_if", "what_if_of_record"),
    "why": ("mechanism.why", "why_of_record"),
}
#: Functions that pass keywords on themselves → the function that names them.
THROUGH = {
    "write_html": ("view.content", "payload_parts"),
    "html_text": ("view.content", "payload_parts"),
    "AttentionWidget": ("view.content", "payload_parts"),
    "what_if_of_record": ("interventions.what_if", "what_if"),
}
#: Keywords that a method has of its own or leaves out: the record is the text, pages are always compressed, and the
#: attribution method comes second, with or without its name. Ids may stand for texts.
OWN = {"analyzer"}
#: Methods whose texts may be given as ids.
BY_IDS = {"label_heads", "cache_advice", "depth_profile", "similarity", "head_importance", "pruning_curve"}
#: Images, sounds and films go to a function of their own.
MEDIA = {"image", "images", "audio", "video", "sampling_rate"}
BESIDE_TEXT = dict.fromkeys(("generate", "token_importance", "compare_attributions"), MEDIA)
LEFT_OUT = {"what_if_of_record": {"inputs", "truncate"}, "payload_parts": {"deflate"}, "token_importance": {"method"}}

KEYWORD = inspect.Parameter.KEYWORD_ONLY


def found(module: str, name: str) -> Any:
    return getattr(import_module(f"attention_analyzer.{module}"), name)


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is KEYWORD}


def own_of(method: str) -> set[str]:
    return OWN | BESIDE_TEXT.get(method, set()) | ({"inputs"} if method in BY_IDS else set())


def expected(module: str, name: str) -> dict[str, Any]:
    wanted = keywords(found(module, name))
    left_out = LEFT_OUT.get(name, set())
    if name in THROUGH:
        inner = THROUGH[name]
        wanted |= keywords(found(*inner))
        left_out = left_out | LEFT_OUT.get(inner[1], set())
    return {key: value for key, value in wanted.items() if key not in left_out}


METHODS = [
    pytest.param(owner, method, target, id=f"{owner.__name__}.{method}")
    for owner, table in ((AttentionAnalyzer, ANALYZER), (AttentionRecord, RECORD))
    for method, target in table.items()
]


@pytest.mark.parametrize(("owner", "method", "target"), METHODS)
def test_a_method_has_the_keywords_of_its_function(owner: type, method: str, target: tuple[str, str]) -> None:
    own = {name: value for name, value in keywords(getattr(owner, method)).items() if name not in own_of(method)}
    assert own == expected(*target)


@pytest.mark.parametrize(("owner", "method", "target"), METHODS)
def test_a_method_passes_on_all_it_is_given(
    owner: type, method: str, target: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    received: dict[str, Any] = {}

    def function(*_: Any, **given: Any) -> Any:
        received.update(given)
        return AttentionRecord(())

    monkeypatch.setattr(import_module(f"attention_analyzer.{target[0]}"), target[1], function)
    given = {name: object() for name in keywords(getattr(owner, method)) if name not in own_of(method)}
    instance = owner.__new__(owner)
    instance.__dict__["loaded"] = None
    places = inspect.signature(getattr(owner, method)).parameters.values()
    positional = [each for each in places if each.kind is each.POSITIONAL_OR_KEYWORD and each.name != "self"]
    needed = [each for each in positional if each.default is each.empty or each.name in ("text", "texts")]
    getattr(instance, method)(*(object() for _ in needed), **given)
    assert {name: received[name] for name in given} == given


def public_methods(owner: type) -> list[tuple[str, Callable[..., Any]]]:
    members = inspect.getmembers(owner, lambda value: inspect.isfunction(value) or inspect.ismethod(value))
    return [(name, value) for name, value in members if not name.startswith("_")]


#: Open on purpose: arguments of ``model.generate``, and the entries of a view's state (a TypedDict).
OPEN = {"generate": "generate_options", "figure": "settings"}


@pytest.mark.parametrize("owner", [AttentionAnalyzer, AttentionRecord])
def test_no_method_hides_its_keywords(owner: type) -> None:
    for name, method in public_methods(owner):
        parameters = inspect.signature(method).parameters.values()
        hidden = [each.name for each in parameters if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
        assert hidden in ([], [OPEN.get(name)]), name


@pytest.mark.parametrize("owner", [AttentionAnalyzer, AttentionRecord])
def test_every_keyword_is_documented(owner: type) -> None:
    for name, method in public_methods(owner):
        doc = inspect.getdoc(method) or ""
        assert doc, name
        if name in {*ANALYZER, *RECORD} - {"html"}:
            undocumented = [key for key in keywords(method) if key not in doc]
            assert not undocumented, (name, undocumented)
            assert "Raises:" in doc, name


def test_the_settings_of_a_view_are_those_of_its_state() -> None:
    from attention_analyzer.view.static_views.state import DEFAULTS, ViewSettings

    assert {*ViewSettings.__annotations__, "view", "head"} == DEFAULTS.keys()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"layer": 0, "size": 3.0}, "size=… does not belong to the figure of a layer"),
        ({"layer": 0, "head": 1, "columns": 2}, "columns=… does not belong to the figure of a head"),
        ({"layer": 0, "query": 3}, "query=… does not belong to the figure of a layer"),
        ({"view": "arcs", "log": True}, "log=… does not belong to the figure of a view"),
        ({}, "needs a layer, or a view"),
    ],
)
def test_a_setting_of_another_figure_is_refused(call: dict[str, Any], message: str) -> None:
    weights = [[[1.0, 0.0], [0.5, 0.5]]] * 2
    record = AttentionRecord.from_weights([weights], ["a", "b"])
    with pytest.raises(errors.InputError, match=message):
        record.figure(**call)
