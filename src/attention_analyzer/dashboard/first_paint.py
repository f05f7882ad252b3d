"""What the first visitor of a server sees while torch and transformers are imported: the example, at once.

The picture comes with the package, made by ``tools/opening.py`` from the bundled model; a test holds it against what
that model shows today. Everything in it can be used; words and numbers follow when the model is there.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from attention_analyzer.dashboard.inputs import EXAMPLE, MODELS, TEXT
from attention_analyzer.dashboard.model_cache import Given, has_answered
from attention_analyzer.dashboard.viewer_component import attention_view
from attention_analyzer.dashboard.viewer_sync import follow

MODEL = "demo-decoder"
PICTURE = Path(__file__).with_name("opening.attention")


def is_opening(models: tuple[str, ...], given: Given) -> bool:
    """Whether the picture shows what is asked for, and the server has nothing better yet."""
    is_example = models == (MODEL,) and given == EXAMPLE and set(st.query_params) <= {MODELS, TEXT}
    return is_example and not has_answered()


def opening_view(name: str, height: int) -> None:
    """The picture, in the place and under the name of the viewer that follows; what is chosen in it stays chosen."""
    attention_view(PICTURE.read_bytes(), key=name, height=height, on_select=follow)
    st.caption("Loading the model. The summary and metrics appear when it is ready.")
