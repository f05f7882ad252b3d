"""How long the dashboard's server takes: ``python -m benchmarks.dashboard``.

A visitor without a browser asks for Explore and waits until the server has sent all of it. The forward is timed in this
process, on the same text with the same number of threads. Every time is the fastest of several.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from benchmarks.streamlit_session import Session, server

MODEL = "all-MiniLM-L6-v2"
TOKENS = 512
REPEATS = 5
FIRST, SELECTION = 3.0, 0.150
#: Seconds that a browser takes to open.
BROWSER = 2.0


def text_of(number: int, tokens: int = TOKENS) -> str:
    """A text of so many tokens, the two special ones included; another one for each number."""
    return " ".join(["cat", "dog", "sun", "sea", "man"][(number + at * (number + 1)) % 5] for at in range(tokens - 2))


def forward_seconds() -> float:
    import torch

    from attention_analyzer import AttentionAnalyzer

    loaded = AttentionAnalyzer(MODEL, cache=False).loaded
    inputs = loaded.tokenizer(text_of(0), return_tensors="pt")
    assert inputs["input_ids"].shape[1] == TOKENS, inputs["input_ids"].shape
    times = []
    with torch.no_grad():
        for _ in range(REPEATS + 2):
            started = time.perf_counter()
            loaded.model(**inputs)
            times.append(time.perf_counter() - started)
    return min(times)


def first_pages() -> dict[str, float]:
    """The first visitor's page of a server that has just started, and of one with a browser's time to import."""
    found = {}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, transformers.modeling_utils"], check=True)
    found["importing torch and transformers alone"] = time.perf_counter() - started
    with server() as address, Session(address) as visitor:
        visitor.run()
        found["first page, its boxes"] = visitor.first["text_area"]
        found["first page, its picture"] = visitor.first["bidi_component"]
        found["first page, its words and numbers"] = visitor.seconds
    started = time.perf_counter()
    with server("attention_analyzer.dashboard.serve") as address:
        found["attn app listens after"] = time.perf_counter() - started
        time.sleep(BROWSER)
        with Session(address) as visitor:
            visitor.run()
            found["first page of attn app, its picture"] = visitor.first["bidi_component"]
            found["first page of attn app, its words and numbers"] = visitor.seconds
    return found


def main() -> None:
    found: dict[str, float] = {"forward": forward_seconds()} | first_pages()
    with server(OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "")) as address, Session(address) as visitor:
        visitor.run(model=MODEL, text=text_of(0))
        numbers = range(1, REPEATS + 1)
        found["changed text"] = min(
            visitor.set("text_area", "text", text_of(number)).run().seconds for number in numbers
        )
        found["changed selection"] = min(
            visitor.set("selectbox", "head", str(number)).run().seconds for number in numbers
        )
    found["allowed for a changed text"] = 1.3 * found["forward"] + 0.3
    print(json.dumps({name: round(seconds, 3) for name, seconds in found.items()}, indent=1))
    for name, most in (
        *((name, FIRST) for name in found if name.startswith("first page")),
        ("changed text", found["allowed for a changed text"]),
        ("changed selection", SELECTION),
    ):
        print(f"{'met' if found[name] <= most else 'NOT met'}: {name} {found[name]:.3f} s, at most {most:.3f} s")


if __name__ == "__main__":
    main()
