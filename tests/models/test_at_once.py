"""Several threads, tasks and processes at once: every model is loaded and recorded as if alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from time import sleep

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError
from attention_analyzer.patterns.ov_copying import measure_copying
from attention_analyzer.random_state import restored_draws

NAMES = ["demo-encoder", "demo-decoder", "demo-translator", "all-MiniLM-L6-v2"]
TEXT = "The cat sat on the mat."


def weights(name: str) -> torch.Tensor:
    return AttentionAnalyzer(name, cache=False).record(TEXT).weights(0)


def test_models_that_are_loaded_in_threads_are_those_loaded_alone() -> None:
    alone = {name: (AttentionAnalyzer(name, cache=False).fingerprint, weights(name)) for name in NAMES}
    with ThreadPoolExecutor(8) as pool:
        analyzers = list(pool.map(lambda name: AttentionAnalyzer(name, cache=False), NAMES * 2))
        records = list(pool.map(lambda analyzer: analyzer.record(TEXT), analyzers))
    for analyzer, record in zip(analyzers, records, strict=True):
        fingerprint, expected = alone[analyzer.name]
        assert analyzer.fingerprint == fingerprint
        torch.testing.assert_close(record.weights(0), expected, rtol=0, atol=1e-6)


def test_one_model_in_many_threads_and_tasks() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    texts = [f"{TEXT} It was number {number}." for number in range(8)]
    expected = [analyzer.record(text).weights(1) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: analyzer.record(text).weights(1), texts))

        async def all_of_them() -> list[torch.Tensor]:
            records = await asyncio.gather(*(asyncio.to_thread(analyzer.record, text) for text in texts))
            return [record.weights(1) for record in records]

        found += pool.submit(asyncio.run, all_of_them()).result()
    for one, other in zip(found, expected * 2, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_model_in_training_stays_without_dropout_until_the_last_thread_is_done() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    expected = analyzer.record(TEXT).weights(2)
    model = analyzer.model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    model.get_submodule("model" if hasattr(model, "model") else "transformer").eval()
    modes = {name: module.training for name, module in model.named_modules()}
    inside, left = Event(), Event()

    def short() -> None:
        with analyzer.loaded.evaluating():
            inside.wait(30)
        left.set()

    thread = Thread(target=short)
    thread.start()
    while any(module.training for module in model.modules()):
        sleep(0.001)
    with analyzer.loaded.evaluating():
        inside.set()
        assert left.wait(30)
        assert not any(module.training for module in model.modules())
        torch.testing.assert_close(analyzer.record(TEXT).weights(2), expected, rtol=0, atol=1e-6)
    thread.join()
    assert {name: module.training for name, module in model.named_modules()} == modes


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
def test_a_model_in_training_mode_has_no_dropout_in_any_thread_and_trains_afterwards() -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    for module in analyzer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    texts = [TEXT * times for times in (1, 2, 3, 4)] * 4
    expected = [analyzer.what_if(text, ablate="L0H0").kl for text in texts]
    analyzer.model.train()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: analyzer.what_if(text, ablate="L0H0").kl, texts))
    assert found == pytest.approx(expected, rel=1e-4)
    assert all(module.training for module in analyzer.model.modules())


def test_two_threads_that_put_random_numbers_back_leave_them_where_they_were() -> None:
    before = torch.get_rng_state()
    first_is_inside, second_has_begun = Event(), Event()

    def first() -> None:
        with restored_draws(seed=1):
            first_is_inside.set()
            second_has_begun.wait(10)
            sleep(0.1)  # in which the second would enter, if it could

    def second() -> None:
        first_is_inside.wait(10)
        second_has_begun.set()
        with restored_draws(seed=2):
            one.join(10)

    one, other = Thread(target=first), Thread(target=second)
    for thread in (one, other):
        thread.start()
    for thread in (one, other):
        thread.join(20)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("often")
def test_copying_is_measured_on_the_texts_of_its_own_thread() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    expected = [each.strengths.strength for each in measure_copying(analyzer.loaded)]

    def one(number: int) -> list[torch.Tensor]:
        analyzer.record(TEXT * (1 + number % 4))
        return [each.strengths.strength for each in measure_copying(analyzer.loaded)]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(one, range(8)):
            for strength, other in zip(found, expected, strict=True):
                torch.testing.assert_close(strength, other, rtol=0, atol=1e-5, equal_nan=True)


def sources_of(analyzer: AttentionAnalyzer) -> object:
    return analyzer.sources("A cat sat. A dog ran. Who sat", answer=" A cat", removals=8).to_frame().to_csv()


PAIR = ("Tom saw a red dog. Tom saw a red", "Tom saw a big dog. Tom saw a red")
ANALYSES: dict[str, Callable[[AttentionAnalyzer], object]] = {
    "record": lambda a: a.record(TEXT).weights(1).tolist(),
    "stream": lambda a: a.heads(TEXT, ["entropy", "distance"]).to_csv(),
    "what_if": lambda a: a.what_if(TEXT, ablate="L1").to_frame().to_csv(),
    "effects": lambda a: a.effects(TEXT).to_frame().to_csv(),
    "why": lambda a: a.why(TEXT, 2, 1, -1, -3).to_frame().to_csv(),
    "patch": lambda a: a.patch(*PAIR).to_frame().to_csv(),
    "patch what enters layers": lambda a: a.patch(*PAIR, what="residual").to_frame().to_csv(),
    "value zeroing": lambda a: a.token_importance(TEXT, "value_zeroing").scores,
    "importance": lambda a: a.head_importance([TEXT, PAIR[0]]).to_frame().to_csv(),
    "integrated gradients": lambda a: a.token_importance(TEXT, "integrated_gradients").scores,
    "sources": sources_of,
    "generate": lambda a: a.generate(TEXT, max_new_tokens=3).notes["written"],
}


def test_different_analyses_of_one_model_at_once_are_those_made_alone() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    expected = {name: run(analyzer) for name, run in ANALYSES.items()}
    before = {name: value.clone() for name, value in analyzer.model.state_dict().items()}
    order = [name for shift in range(3) for name in (*[*ANALYSES][shift * 3 :], *[*ANALYSES][: shift * 3])]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: ANALYSES[name](analyzer), order))
    wrong = [name for name, result in zip(order, found, strict=True) if result != expected[name]]
    assert wrong == []
    assert all(torch.equal(value, before[name]) for name, value in analyzer.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in analyzer.model.modules())
    assert torch.is_grad_enabled()


def test_places_are_found_while_other_threads_record_the_same_model() -> None:
    analyzer = AttentionAnalyzer("demo-captioner", cache=False)
    draws = np.random.default_rng(0)
    size = 64
    images = [draws.integers(0, 255, (size, size, 3), dtype=np.uint8) for _ in range(4)]

    def shown(image: np.ndarray) -> tuple[object, list[float]]:
        record = analyzer.record("a", image=image)
        return [entry.keys.places for entry in record.entries], record.weights(0).flatten().tolist()

    expected = [shown(image) for image in images]
    again = AttentionAnalyzer("demo-captioner", cache=False)
    analyzer = again  # whose places nothing has measured yet
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(shown, images))
    assert found == expected


def test_a_process_that_is_spawned_records_the_same() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        torch.testing.assert_close(pool.apply(weights, ("demo-encoder",)), weights("demo-encoder"), rtol=0, atol=1e-6)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system cannot fork")
def test_a_process_that_is_forked_while_a_model_is_loaded_can_load_one() -> None:
    code = (
        "import os, threading\n"
        "from attention_analyzer.models import loading\n"
        "held = threading.Event(); end = threading.Event()\n"
        "def hold():\n"
        "    with loading._loading():\n"
        "        held.set(); end.wait(60)\n"
        "threading.Thread(target=hold, daemon=True).start(); held.wait()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(0 if loading._loading().acquire(timeout=5) else 1)\n"
        "print(os.waitpid(child, 0)[1]); end.set()\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.parametrize("name", ["x" * 10_000, "x" * 256, "some/" + "ü" * 128, "a\0b", "model\udcff"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="is no name of a model"):
        AttentionAnalyzer(name, cache=False)
