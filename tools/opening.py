"""Make the picture that the dashboard opens with: ``python tools/opening.py``, when the bundled model has changed."""

from __future__ import annotations

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.dashboard.first_paint import MODEL, PICTURE
from attention_analyzer.dashboard.inputs import EXAMPLE
from attention_analyzer.view.content import payload


def main() -> None:
    PICTURE.write_bytes(payload(AttentionAnalyzer(MODEL, cache=False).record(EXAMPLE)))
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
