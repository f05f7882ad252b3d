"""One contract for every study: splits, padding, empty states, several studies in one forward, stores that resume."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError
from attention_analyzer.linguistics.questions import Question
from attention_analyzer.metrics import GroupWeight
from attention_analyzer.patterns.self_token import SelfToken
from attention_analyzer.run import needs, runner
from attention_analyzer.run.runner import run_studies
from attention_analyzer.studies import STUDIES, CacheSizes, Measures, Needs, Patterns, State, Study, WordAnswers
from attention_analyzer.text.annotation import AnnotatedText

TEXTS = [
    "The cat sat on the mat, and the dog lay by the door.",
    "A short text.",
    "When the rain stopped, the children went out to play in the garden until it was dark and cold.",
    "One two three one two three.",
    "She gave the book to her brother.",
]


@pytest.fixture(scope="module", params=["demo-encoder", "demo-decoder", "demo-translator"])
def analyzer(request: pytest.FixtureRequest) -> AttentionAnalyzer:
    return AttentionAnalyzer(request.param, cache=False)


#: Studies of one architecture only.
DECODERS_ONLY = {"cache sizes"}


def word_answers(texts: Sequence[str]) -> WordAnswers:
    """Two questions about the words of each text; word weights of every text are kept."""
    sentences = [AnnotatedText(text, tuple(match.span() for match in re.finditer(r"\w+", text))) for text in texts]
    questions = [
        Question(number, 1, frozenset({0}), ("all",), received=received)
        for number in range(len(texts))
        for received in (False, True)
    ]
    return WordAnswers(sentences, questions, frozenset(range(len(texts))))


def study_named(name: str, texts: Sequence[str] = TEXTS) -> Study[Any]:
    return word_answers(texts) if name == "word answers" else STUDIES[name]()


def studies_for(analyzer: AttentionAnalyzer) -> list[Study[Any]]:
    is_decoder = analyzer.loaded.architecture == "decoder"
    return [study_named(name) for name in STUDIES if is_decoder or name not in DECODERS_ONLY]


@pytest.fixture(params=list(STUDIES))
def study(request: pytest.FixtureRequest, analyzer: AttentionAnalyzer) -> Study[Any]:
    if request.param in DECODERS_ONLY and analyzer.loaded.architecture != "decoder":
        pytest.skip(f"{request.param} are of decoders")
    return study_named(request.param)


def state_of(analyzer: AttentionAnalyzer, study: Study[Any], texts: Sequence[str] = TEXTS, **settings: Any) -> State:
    return run_studies(analyzer.loaded, texts, [about(texts, study)], **settings).states[0]


def about(texts: Sequence[str], study: Study[Any]) -> Study[Any]:
    """The study, or the same about these texts, if it is about the very texts of a run."""
    return word_answers(texts) if isinstance(study, WordAnswers) else study


def assert_same(one: State, two: State, tolerance: float = 0.0) -> None:
    assert (one.texts, one.sites, set(one.arrays)) == (two.texts, two.sites, set(two.arrays))
    assert set(one.sums) == set(two.sums)
    for kind in ("arrays", "sums"):
        for name, array in getattr(one, kind).items():
            # A sum of many small numbers is as exact as the largest of them, not as what they cancel to.
            scale = max(1.0, float(np.abs(array).max(initial=0))) if kind == "sums" else 1.0
            allowed = tolerance and max(tolerance, 1e-3 if array.dtype == np.float16 else 0)
            np.testing.assert_allclose(
                array, getattr(two, kind)[name], rtol=allowed, atol=allowed * scale, err_msg=name
            )


def test_any_split_gives_the_state_of_the_whole(analyzer: AttentionAnalyzer, study: Study[Any]) -> None:
    whole = state_of(analyzer, study)
    for cut in range(len(TEXTS) + 1):
        halves = [state_of(analyzer, study, part) for part in (TEXTS[:cut], TEXTS[cut:])]
        assert_same(State.merge(halves), whole, 2e-6)


def test_padding_does_not_count(analyzer: AttentionAnalyzer, study: Study[Any]) -> None:
    assert_same(state_of(analyzer, study, batch_size=1), state_of(analyzer, study), 2e-6)


def test_an_empty_state_changes_nothing(analyzer: AttentionAnalyzer, study: Study[Any]) -> None:
    state = state_of(analyzer, study)
    assert_same(State.merge([State(), state, State()]), state)
    assert state_of(analyzer, study, []) == State()


def test_several_in_one_run_are_as_each_alone(analyzer: AttentionAnalyzer) -> None:
    studies = studies_for(analyzer)
    together = run_studies(analyzer.loaded, TEXTS, studies).states
    for study, state in zip(studies, together, strict=True):
        assert_same(state, state_of(analyzer, study), 2e-6)


def test_interrupted_and_resumed_is_as_uninterrupted(
    analyzer: AttentionAnalyzer, study: Study[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHUNK", 1)
    whole = state_of(analyzer, study, batch_size=1)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        state_of(analyzer, study, batch_size=1, store=tmp_path, progress=stop)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    told: list[int] = []
    resumed = state_of(analyzer, study, batch_size=1, store=tmp_path, progress=lambda done, total: told.append(done))
    assert_same(resumed, whole)
    assert told == [0, 1, 2, 3, 4, 5]
    assert [path.stat().st_mtime_ns for path in kept] == before


_RUN = """
import sys
from attention_analyzer import AttentionAnalyzer
from attention_analyzer.run import runner
from attention_analyzer.studies import Measures
runner.CHUNK = 1
AttentionAnalyzer("demo-decoder", cache=False).study(sys.argv[2:], [Measures()], batch_size=1, store=sys.argv[1])
"""


def test_a_killed_run_resumes_to_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{text} {number}" for number in range(40) for text in TEXTS]
    process = subprocess.Popen([sys.executable, "-c", _RUN, tmp_path, *texts])
    while process.poll() is None and len(list(tmp_path.glob("*.safetensors"))) < 3:
        time.sleep(0.01)
    process.kill()
    process.wait()
    stored = len(list(tmp_path.glob("*.safetensors")))
    assert 3 <= stored < len(texts)
    monkeypatch.setattr(runner, "CHUNK", 1)
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    (resumed,) = analyzer.study(texts, [Measures()], batch_size=1, store=tmp_path)
    (whole,) = analyzer.study(texts, [Measures()], batch_size=1)
    pd.testing.assert_frame_equal(resumed, whole)


def test_equal_reductions_of_several_studies_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    studies: list[Study[Any]] = [Patterns(probes=False), Measures(), CacheSizes(first=(1,), last=(4,))]
    passes: list[set[object]] = []
    reduce_together = needs.reduce_together

    def counted(tasks: Any, reductions: Any) -> Any:
        passes.append(set(reductions))
        return reduce_together(tasks, reductions)

    monkeypatch.setattr(needs, "reduce_together", counted)
    run_studies(analyzer.loaded, TEXTS, studies)
    (united,) = passes
    passes.clear()
    for study in studies:
        run_studies(analyzer.loaded, TEXTS, [study])
    assert united == set().union(*passes)
    assert len(united) < sum(map(len, passes))


def test_groups_of_one_name_that_differ_are_measured_apart() -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)

    @dataclass(frozen=True)
    class On(Study[float]):
        """The weight on one key."""

        key: int

        def measuring(self, loaded: Any, prepared: Any) -> Any:
            chosen = (torch.arange(prepared.source_length) == self.key)[None]
            weight = GroupWeight("chosen")
            return lambda stack, kind, weights: Needs(
                [weight], lambda each: each.mean(weight), groups={"chosen": chosen}
            )

        def take(self, loaded: Any, batch: Any) -> State:
            return State(len(batch.numbers), (), {"weight": batch.sites[0][1].numpy()})

        def result(self, loaded: Any, state: State) -> float:
            return float(state.arrays["weight"].mean())

    both = analyzer.study(TEXTS, [On(0), On(1)])
    assert list(both) == pytest.approx([analyzer.study(TEXTS, [On(key)])[0] for key in (0, 1)])
    assert both[0] != both[1]


def test_a_store_of_other_texts_or_settings_is_refused(
    analyzer: AttentionAnalyzer, study: Study[Any], tmp_path: Path
) -> None:
    state_of(analyzer, study, store=tmp_path)
    for other in ({"texts": TEXTS[1:]}, {"batch_size": 2}, {"truncate": True}):
        with pytest.raises(InputError, match="other texts, studies or settings"):
            state_of(analyzer, study, store=tmp_path, **other)


def test_stores_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be made"):
        analyzer.study(TEXTS, [Lengths()], store=tmp_path / "file")
    with pytest.raises(InputError, match="pairs of texts"):
        analyzer.study([{"input_ids": [1, 2]}], [Lengths()], store=tmp_path / "store")  # type: ignore[list-item]


def test_settings_are_the_same_every_time_and_tell_patterns_apart() -> None:
    for kind in STUDIES.values():
        assert kind().settings == kind().settings
        assert " at 0x" not in kind().settings
    one, other = (type("Own", (SelfToken,), {"__module__": module})() for module in ("one", "other"))
    assert Patterns(patterns=[one]).settings != Patterns(patterns=[other]).settings


def test_a_damaged_file_is_named_and_measured_again(
    analyzer: AttentionAnalyzer, study: Study[Any], tmp_path: Path
) -> None:
    expected = state_of(analyzer, study, store=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], whole[: len(whole) // 2], b""):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=rf"{path.name}.*its texts are measured again"):
            again = state_of(analyzer, study, store=tmp_path)
        assert_same(again, expected, 0)
        assert path.read_bytes() == whole


def test_texts_that_cannot_be_used_are_listed(analyzer: AttentionAnalyzer, study: Study[Any]) -> None:
    texts = [*TEXTS[:2], "", *TEXTS[2:]]
    with pytest.raises(InputError, match=r"^Text 2, counted from 0 \(''\): The text is empty"):
        state_of(analyzer, study, texts)
    learned = run_studies(analyzer.loaded, texts, [about(texts, study)], errors="skip")
    assert learned.problems["index"].tolist() == [2]
    assert learned.problems["reason"].str.len().min() > 0
    assert_same(learned.states[0], state_of(analyzer, study), 2e-6)


@dataclass(frozen=True)
class Lengths(Study[float]):
    """The mean number of tokens of a text."""

    def take(self, loaded: Any, batch: Any) -> State:
        return State(len(batch.prepared.source), (), {"tokens": np.array(list(map(len, batch.prepared.source)))})

    def result(self, loaded: Any, state: State) -> float:
        return float(state.arrays["tokens"].mean())


def test_the_analyzer_returns_results_in_order() -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    lengths, patterns = analyzer.study(TEXTS, [Lengths(), STUDIES["patterns"](probes=False)])
    assert lengths == np.mean([len(analyzer.record(text).tokens) for text in TEXTS])
    assert patterns.table.equals(analyzer.label_heads(TEXTS, probes=False).table)
    with pytest.raises(InputError, match="list of texts"):
        analyzer.study("A text", [Lengths()])
    with pytest.raises(InputError, match="study"):
        analyzer.study(TEXTS, [])


@pytest.mark.parametrize("method", ["label_heads", "similarity", "depth_profile", "cache_advice"])
def test_methods_resume_from_a_store(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CHUNK", 1)
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    settings: dict[str, Any] = {"first": [1], "last": [4]} if method == "cache_advice" else {"batch_size": 2}
    if method == "label_heads":
        settings |= {"untrained": True, "probes": False, "patterns": [SelfToken()]}
    ask = getattr(analyzer, method)
    whole = ask(TEXTS, **settings).to_frame()

    def stop(done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(TEXTS, **settings, store=tmp_path, progress=stop)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert kept
    pd.testing.assert_frame_equal(ask(TEXTS, **settings, store=tmp_path).to_frame(), whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with pytest.raises(InputError, match="other texts, studies or settings"):
        ask([*TEXTS[:-1], "Another text of more than five tokens."], **settings, store=tmp_path)
