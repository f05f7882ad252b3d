"""Every form of attention, examined as the whole sweep examines all types, and compared with the recorded result."""

from __future__ import annotations

import pytest

from attention_analyzer.hooks import calls
from tests.conformance.examine import examine
from tests.conformance.report import PAGE, page
from tests.conformance.results import STATES, load

#: One type for each form, which its comment names.
SLICE = (
    "bert",  # every token sees every token
    "albert",  # one module for all layers
    "mistral",  # grouped queries, a sliding window, a cache
    "gemma2",  # softcap, windows in some layers only
    "gpt_oss",  # sinks
    "deepseek_v3",  # latent keys wider than values
    "diffllama",  # one attention applied to parts of the values
    "llama4_text",  # chunks
    "modernbert",  # a window to both sides
    "t5",  # position bias, cross-attention
    "bart",  # cross-attention
    "vit",  # images
    "swin",  # windows folded into the batch axis
    "bloom",  # ALiBi, outside the interface
    "codegen",  # a softmax made on the spot
    "deberta-v2",  # content and position apart, outside the interface
    "longformer",  # refused
    "fnet",  # no attention
)
#: What must come out again; numbers may differ in their last digits from machine to machine.
STABLE = (
    "state",
    "model",
    "reason",
    "step",
    "backends",
    "sites",
    "forms",
    "paddings",
    "cache",
    "handed",
    "not_captured",
)


# Tiny configurations are unusual ones, of which transformers warns in many ways.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SLICE)
def test_the_form_is_examined_as_recorded(name: str) -> None:
    recorded = load()[name]
    found = vars(examine(name))
    assert {field: found[field] for field in STABLE} == {field: recorded[field] for field in STABLE}


@pytest.mark.filterwarnings("ignore")
def test_a_wrong_weight_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examination can fail: here every score is scaled by a little too much."""
    right = calls._scaling
    monkeypatch.setattr(calls, "_scaling", lambda call: 1.1 * right(call))
    found = examine("bert")
    assert found.state == "failed"
    assert "could not be reproduced" in found.reason


def test_the_page_is_the_results() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(load()), "docs/coverage.md differs from docs/coverage.jsonl; run make conformance"


def test_every_recorded_state_is_a_known_one_with_its_reason() -> None:
    for name, finding in load().items():
        assert finding["state"] in STATES, name
        assert finding["state"] != "failed", name
        assert finding["reason"] or finding["state"] in ("exact", "weights only"), name
