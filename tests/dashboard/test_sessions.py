"""Visitors at once, on one model and on many: real sessions of a real server, each with its own right answer."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import streamlit as st
import torch

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.dashboard import model_cache
from benchmarks.streamlit_session import Session, server


def said(table: pd.DataFrame) -> str:
    row = table[(table["layer"] == 2) & (table["head"] == 3)].iloc[0]
    return f"entropy {row['entropy']:.2f} nats"


def test_twenty_sessions_each_get_their_own_answer() -> None:
    texts = [f"Session {number} reads {'very ' * number}different words." for number in range(20)]
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)

    right = [said(analyzer.record(text).heads()) for text in texts]
    assert len(set(right)) > 10
    with server(OMP_NUM_THREADS="1", ATTENTION_ANALYZER_KERNEL="off") as address:

        def visit(text: str) -> str:
            with Session(address) as visitor:
                visitor.run(model="demo-encoder", text=text, layer="2")
                return visitor.set("selectbox", "head", "3").run().words()

        with ThreadPoolExecutor(20) as pool:
            shown = list(pool.map(visit, texts))
    for answer, words in zip(right, shown, strict=True):
        assert "L2H3 in words" in words
        assert answer in words


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of ten models that differ."""
    folder = tmp_path_factory.mktemp("models")
    base = AttentionAnalyzer("demo-encoder", cache=False)
    draws = torch.Generator().manual_seed(0)
    for number in range(10):
        with torch.no_grad():
            for parameter in base.model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=draws))
        base.model.save_pretrained(folder / f"model-{number}")
        base.tokenizer.save_pretrained(folder / f"model-{number}")
    return [str(folder / f"model-{number}") for number in range(10)]


def test_ten_sessions_with_ten_models_each_get_the_answer_of_their_own(models: list[str]) -> None:
    text = "The keys to the old cabinet were on the table."
    right = [said(AttentionAnalyzer(name, cache=False).record(text).heads()) for name in models]
    assert len(set(right)) > 5
    with server(OMP_NUM_THREADS="1", ATTENTION_ANALYZER_KERNEL="off") as address:

        def visit(name: str) -> list[str]:
            with Session(address) as visitor:
                visitor.run(model=name, text=text, layer="2")
                return [visitor.set("selectbox", "head", head).run().words() for head in ("3", "2", "3")]

        with ThreadPoolExecutor(len(models)) as pool:
            shown = list(pool.map(visit, models))
    for answer, pages in zip(right, shown, strict=True):
        assert all("went wrong" not in words for words in pages)
        assert answer in pages[0]
        assert answer in pages[2]


def test_models_that_were_not_asked_for_longest_are_let_go(models: list[str]) -> None:
    logging.disable(logging.WARNING)  # Streamlit says that no page is drawn here
    try:
        alive = []
        for name in models:
            record = model_cache.record_of(name, "The cat sat on the mat.")
            alive.append(weakref.ref(model_cache.analyzer_of(name).model))
        del record
        gc.unfreeze()
        gc.collect()
        assert [model() is not None for model in alive] == [False] * 6 + [True] * 4
    finally:
        st.cache_resource.clear()
        st.cache_data.clear()
        logging.disable(logging.NOTSET)


def test_the_command_serves_the_first_page() -> None:
    port = 8600 + os.getpid() % 1000  # workers that test side by side have ports of their own
    command = [sys.executable, "-c", "from attention_analyzer.cli.main import main; main()", "app", "--no-browser"]
    settings = os.environ | {"OMP_NUM_THREADS": "1", "ATTENTION_ANALYZER_KERNEL": "off"}
    with subprocess.Popen([*command, "--port", str(port)], env=settings, start_new_session=True) as process:
        try:
            wait_for(f"http://localhost:{port}/_stcore/health")
            with Session(f"localhost:{port}") as visitor:
                assert "in words" in visitor.run(model="demo-encoder").words()
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def wait_for(address: str) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
