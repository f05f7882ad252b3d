"""Conversation: a chat with its documents, the model's answer, and the parts that the answer rests on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import offer_figure, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.inputs import model_box
from attention_analyzer.dashboard.model_cache import analyzer_of, asking
from attention_analyzer.dashboard.persistence import text_box
from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.dashboard.uploads import upload_box
from attention_analyzer.dashboard.viewer_component import attention_view
from attention_analyzer.errors import InputError
from attention_analyzer.sources import Sources
from attention_analyzer.sources.log import read_chat
from attention_analyzer.text.decoding import decode

if TYPE_CHECKING:
    from attention_analyzer.parts import PartAttention
    from attention_analyzer.record import AttentionRecord

CHAT = "chat"
EXAMPLE = json.dumps(
    {
        "messages": [{"role": "user", "content": "What is the home of Ada?"}],
        "documents": [
            "The pet of Ada is fox. It was a quiet year.",
            "The home of Ada is harbor.",
            "The trade of Ben is miner.",
        ],
    },
    indent=1,
)
_MARKS = {"source": "blue", "against": "orange"}


def show() -> None:
    st.header("Which part did the answer come from?")
    models = model_box(default=("demo-reader", "demo-decoder"))
    if not models:
        st.info("Choose a model that continues texts, such as demo-reader.")
        return
    name = models[0]
    if not analyzer_of(name).loaded.can_generate:
        raise InputError(f"{name} cannot generate text; choose a model that can, such as demo-reader.")
    chat = _chat()
    if chat is None:
        return
    found = sources_of(name, json.dumps(chat, sort_keys=True))
    _answer(found)
    st.subheader("Parts, best first")
    st.dataframe(found.table, hide_index=True, width="stretch")
    key = json.dumps(chat, sort_keys=True)
    show_figure(found.figure, ("sources", name, key), "Scores of the parts, best first")
    with st.expander("Methods on this text", expanded=not found.none):
        st.caption(
            "lds: rank correlation with removals that no method has seen; drop: nats lost without the best part."
        )
        st.dataframe(found.methods, hide_index=True, width="stretch")
    with st.expander("Attention between all parts"):
        between = between_of(name, json.dumps(chat, sort_keys=True))
        st.caption("Mean over all heads, above what the distance alone gives, without special tokens.")
        show_figure(between.figure, ("between", name, key), "Attention between parts")
    if st.toggle("Read prompt and answer by parts, with the attention of every head", key="by-parts"):
        record = record_of(name, key, found.answer)
        attention_view(record, key=f"parts-{hash((name, key))}", height=600, state={"view": "parts"})
    with st.expander("Export"):
        offer_table(found.table, "sources", "Sources")
        offer_figure(found.figure, "sources", "Figure")
    arguments = ", ".join(f"{entry}={value!r}" for entry, value in chat.items())
    lines = [
        f"analyzer = AttentionAnalyzer({name!r})",
        f"sources = analyzer.sources({arguments})",
        "print(sources)",
    ]
    offer_script([*lines, 'sources.to_html("sources.html")'], "sources")


@st.cache_resource(max_entries=50, show_spinner="Looking for sources …")
def sources_of(name: str, chat: str) -> Sources:
    """The sources of a chat's answer."""
    with asking(name) as analyzer:
        return analyzer.sources(**json.loads(chat))


@st.cache_resource(max_entries=50, show_spinner="Reading the chat …")
def between_of(name: str, chat: str) -> PartAttention:
    """Attention between the sections of a chat, or the sentences of a prompt."""
    given: dict[str, Any] = json.loads(chat)
    with asking(name) as analyzer:
        text = given.get("prompt") or analyzer.chat(given["messages"], documents=given.get("documents"))
        return analyzer.between(text)


@st.cache_resource(max_entries=20, show_spinner="Reading prompt and answer …")
def record_of(name: str, chat: str, answer: str) -> AttentionRecord:
    """A chat with its answer, or a prompt that goes on with it."""
    given: dict[str, Any] = json.loads(chat)
    with asking(name) as analyzer:
        if "prompt" in given:
            return analyzer.record(given["prompt"] + answer)
        messages = list(given["messages"])
        if messages[-1].get("role") != "assistant":
            messages.append({"role": "assistant", "content": answer})
        return analyzer.record(analyzer.chat(messages, documents=given.get("documents")))


def _chat() -> dict[str, Any] | None:
    """What was pasted, with the documents that were dropped; None while there is nothing."""
    text = text_box(
        "Chat as JSON: messages, or an object with messages and documents; anything else is a prompt",
        EXAMPLE,
        CHAT,
        (EXAMPLE,),
        max_chars=Settings.here().longest_text,
        height=220,
    )
    upload = upload_box(
        "Documents",
        ("txt", "md"),
        several=True,
        key="documents",
        help_text="Text files that are given to the model beside the chat, each as one document.",
    )
    if not text.strip():
        st.info("Paste a chat as JSON, or a prompt.")
        return None
    chat = _read(text)
    if upload is not None:
        dropped = [
            {"title": name, "text": decode(path.read_bytes(), name, None)}
            for path, name in zip(upload.paths, upload.names, strict=True)
        ]
        chat["documents"] = [*chat.get("documents", []), *dropped]
    return chat


def _read(text: str) -> dict[str, Any]:
    if text.lstrip()[:1] not in ("{", "["):
        return {"prompt": text}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The chat is no JSON: {error}.") from None
    return read_chat(value, "The text")


def _answer(found: Sources) -> None:
    st.caption("Answer" if found.is_given else "The model answers")
    st.code(found.answer.strip() or "(nothing)", language=None, wrap_lines=True)
    if found.none:
        st.info("None of the parts moves the answer.", icon=":material/block:")
    for _, row in found.table[found.table["role"] != ""].iterrows():
        st.markdown(f":{_MARKS[row['role']]}-badge[{plain(str(row['part']))}] {plain(str(row['text']))}")
    for sentence in found.contradictions:
        st.warning(plain(sentence), icon=":material/call_split:")
    for note in found.notes:
        st.caption(plain(note))
