"""The coverage of mechanism: two types examined anew, and the page as its results say."""

from __future__ import annotations

from tests.conformance.mechanism import PAGE, examine, load, page, types


def test_a_type_that_has_everything_and_one_with_attention_of_its_own() -> None:
    known = types()
    qwen = examine("qwen3", known["qwen3"])
    assert (qwen.effects, qwen.why, qwen.patch) == ("yes", "yes", "yes")
    assert 0 <= qwen.deviation < 1e-4
    own = examine("gptj", known["gptj"])
    assert own.effects == "yes"
    assert "outside of transformers' attention interface" in own.why


def test_the_page_is_what_the_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(load().values())
