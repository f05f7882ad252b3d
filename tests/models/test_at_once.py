"""Several threads, tasks and processes at once: every model is loaded and recorded as if alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError

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
    inside, left = threading.Event(), threading.Event()

    def short() -> None:
        with analyzer.loaded.evaluating():
            inside.wait(30)
        left.set()

    thread = threading.Thread(target=short)
    thread.start()
    while any(module.training for module in model.modules()):
        time.sleep(0.001)
    with analyzer.loaded.evaluating():
        inside.set()
        assert left.wait(30)
        assert not any(module.training for module in model.modules())
        torch.testing.assert_close(analyzer.record(TEXT).weights(2), expected, rtol=0, atol=1e-6)
    thread.join()
    assert {name: module.training for name, module in model.named_modules()} == modes


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
        "    with loading._loading:\n"
        "        held.set(); end.wait(60)\n"
        "threading.Thread(target=hold, daemon=True).start(); held.wait()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(0 if loading._loading.acquire(timeout=5) else 1)\n"
        "print(os.waitpid(child, 0)[1]); end.set()\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.parametrize("name", ["x" * 10_000, "x" * 256, "some/" + "ü" * 128, "a\0b", "model\udcff"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="is no name of a model"):
        AttentionAnalyzer(name, cache=False)
