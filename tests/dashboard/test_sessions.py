"""Twenty visitors at once on one model: real sessions of a real server, each with its own right answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from attention_analyzer import AttentionAnalyzer
from benchmarks.streamlit_session import Session, server


def test_twenty_sessions_each_get_their_own_answer() -> None:
    texts = [f"Session {number} reads {'very ' * number}different words." for number in range(20)]
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)

    def said(table) -> str:
        row = table[(table["layer"] == 2) & (table["head"] == 3)].iloc[0]
        return f"entropy {row['entropy']:.2f} nats"

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
