"""Images and sounds: drop one, and see where the model looks or listens, in general and for one word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import offer_figure, offer_file, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.inputs import model_box
from attention_analyzer.dashboard.media_examples import EXAMPLES
from attention_analyzer.dashboard.model_cache import analyzer_of, asking
from attention_analyzer.dashboard.persistence import text_box
from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.dashboard.temp_dirs import Folder
from attention_analyzer.dashboard.uploads import Upload, upload_box
from attention_analyzer.dashboard.viewer_component import attention_view
from attention_analyzer.errors import AttentionAnalyzerError
from attention_analyzer.media import Image, Sound
from attention_analyzer.view.media_content import opening_state

if TYPE_CHECKING:
    from attention_analyzer.attribution import TokenImportance
    from attention_analyzer.record import AttentionRecord

BESIDE, WORD, METHOD, EXAMPLE = "beside", "word", "method", "example"
_IMAGES, _SOUNDS, _FILMS = ("png", "jpg", "jpeg", "webp", "tif", "tiff"), ("wav", "flac", "ogg", "mp3"), ("gif", "mp4")
METHODS = ("rollout", "last_layer", "gradient_attention", "occlusion")
_HEIGHT = 760


def show() -> None:
    st.header("Where does a model look or listen?")
    models = model_box(default=("demo-captioner", "demo-listener"))
    if not models:
        st.info("Choose a model that reads images or sounds, such as demo-captioner.")
        return
    name = models[0]
    analyzer_of(name)
    upload = upload_box(
        "Images, a sound or a film",
        (*_IMAGES, *_SOUNDS, *_FILMS),
        several=True,
        key="media",
        help_text="Images go to the model together, in this order. They stay on this machine.",
    )
    text = text_box(
        "Text beside it (the question, or the words that the model is to write)",
        "",
        BESIDE,
        max_chars=Settings.here().longest_text,
        height=80,
    )
    if upload is None:
        upload = _example()
    if upload is None:
        st.info("Drop an image, a sound or an animated GIF. demo-captioner reads colored shapes on a light ground.")
        return
    beside = text.strip() or None
    record = record_of_media(name, upload.digest, beside, upload)
    if record.target_tokens is not None and beside is None:
        st.caption("The model writes: " + plain(record.target_tokens.text.strip() or "(nothing)"))
    attention_view(record, key=f"media-{name}-{upload.digest}", height=_HEIGHT, state=opening_state(record))
    if any(isinstance(medium, Sound) for medium in record.media):
        _times(record)
    else:
        _importance(name, upload, beside)
    with st.expander("Export"):
        offer_table(record.heads(), "heads", "All heads")
        offer_file("Page (HTML)", lambda: record.html().encode(), "attention.html", "text/html")
    arguments = ", ".join([*([repr(beside)] if beside else []), _argument(upload)])
    offer_script(
        [
            f"analyzer = AttentionAnalyzer({name!r})",
            f"record = analyzer.record({arguments})",
            'record.to_html("attention.html")',
            "print(record.align())"
            if any(isinstance(medium, Sound) for medium in record.media)
            else f"print(analyzer.token_importance({arguments}, method='rollout'))",
        ]
    )


@st.cache_resource(max_entries=20, show_spinner="Running the model …")
def record_of_media(name: str, digest: str, beside: str | None, _upload: Upload) -> AttentionRecord:  # noqa: ARG001
    """The record of what was dropped, made once; ``digest`` is what Streamlit remembers it by."""
    with asking(name) as analyzer:
        return analyzer.record(beside, **_given(_upload))


@st.cache_resource(max_entries=40, show_spinner="Scoring the cells …")
def importance_of(
    name: str,
    digest: str,  # noqa: ARG001 (Streamlit remembers by it)
    beside: str | None,
    method: str,
    target: str | None,
    _upload: Upload,
) -> TokenImportance:
    """How important each cell is for one word, or for the whole answer."""
    with asking(name) as analyzer:
        return analyzer.token_importance(beside, method, target=target, special="exclude", **_given(_upload))


def _example() -> Upload | None:
    """The example that the address names."""
    name = st.query_params.get(EXAMPLE)
    return example_of(name) if name in EXAMPLES else None


@st.cache_resource
def example_of(name: str) -> Upload:
    """An example as if it had been dropped."""
    folder = Folder("example")
    path = folder.path / name
    path.write_bytes(EXAMPLES[name]())
    return Upload((path,), (name,), name, folder)


def _given(upload: Upload) -> dict[str, Any]:
    """What was dropped, as the arguments of the analyzer."""
    kind = upload.paths[0].suffix.lower().lstrip(".")
    if kind in _SOUNDS:
        return {"audio": upload.paths[0]}
    return {"video": upload.paths[0]} if kind in _FILMS else {"images": list(upload.paths)}


def _argument(upload: Upload) -> str:
    (keyword, value) = next(iter(_given(upload).items()))
    return f"{keyword}={[path.name for path in value] if keyword == 'images' else value.name!r}"


def _importance(name: str, upload: Upload, beside: str | None) -> None:
    """The cells that one word rests on, over the image."""
    record = record_of_media(name, upload.digest, beside, upload)
    tokens = record.target_tokens
    if not any(isinstance(medium, Image) for medium in record.media):
        return
    st.subheader("Which cells matter")
    columns = st.columns(2)
    target = None
    if tokens is not None:
        numbers = [None, *range(1, len(tokens))]
        at = columns[0].selectbox(
            "For",
            numbers,
            key=WORD,
            format_func=lambda each: "the whole answer" if each is None else tokens.pieces[each],
        )
        target = None if at is None else f"position:{at}"
    method = columns[-1].selectbox("Method", METHODS, key=METHOD) or METHODS[0]
    try:
        found = importance_of(name, upload.digest, beside, method, target, upload)
    except AttentionAnalyzerError as error:
        st.info(plain(str(error)))
        return
    show_figure(found.plot, ("importance", name, upload.digest, beside, method, target), "Cells over the image")
    offer_figure(found.plot, "cells", "Cells")


def _times(record: AttentionRecord) -> None:
    """When each word sounds."""
    try:
        words = record.align()
    except AttentionAnalyzerError as error:
        st.caption(plain(str(error)))
        return
    st.subheader("When each word sounds")
    st.dataframe(words, hide_index=True, width="stretch")
    offer_table(words, "words", "Words")
