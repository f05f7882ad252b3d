"""The pages by section, the questions they answer with examples, and the way from any of them to one head in a text.

A new page is one module in ``pages`` and one entry here; the start page and the menu follow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.inputs import HEAD, LAYER, SITE

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from attention_analyzer.dashboard.inputs import Place

#: An example: its title, and the state that it puts into the address.
Example = tuple[str, dict[str, str | tuple[str, ...]]]


@dataclass(frozen=True)
class Entry:
    """A page.

    Attributes:
        name: its address, and its module in ``pages``.
        title: in the menu.
        icon: of Material Symbols.
        section: of the menu.
        question: what it answers; pages without a question are not on the start page.
        answer: one sentence below the question.
        examples: links on the start page.
    """

    name: str
    title: str
    icon: str
    section: str = ""
    question: str = ""
    answer: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def symbol(self) -> str:
        return f":material/{self.icon}:"


def _chat(question: str) -> str:
    documents = ["The pet of Ada is fox.", "The home of Ada is harbor.", "The home of Ben is mill."]
    return json.dumps({"messages": [{"role": "user", "content": question}], "documents": documents})


ONE_TEXT, MANY_TEXTS, MODELS = "One text", "Many texts", "Models"
PAGES = (
    Entry("home", "Start", "home"),
    Entry(
        "explore",
        "Explore",
        "visibility",
        ONE_TEXT,
        "What do the heads look at?",
        "All heads of a model on your text, one head in detail, and what changes without it.",
        (
            ("A decoder reads a sentence", {"model": "demo-decoder"}),
            (
                "Which noun does “it” attend to?",
                {"model": "all-MiniLM-L6-v2", "text": "The animal did not cross the street because it was too tired."},
            ),
            (
                "An induction head repeats a name",
                {
                    "model": "demo-decoder",
                    "text": "Mr and Mrs Smith went to town. Mr and Mrs",
                    "layer": "4",
                    "head": "2",
                    "view": "matrix",
                },
            ),
        ),
    ),
    Entry(
        "tokens",
        "Tokens",
        "format_color_text",
        ONE_TEXT,
        "Which tokens matter?",
        "Token attribution by fourteen methods, each tested by deleting tokens.",
        (
            ("The next word of a story", {"model": "demo-decoder", "text": "The king gave the queen a golden"}),
            ("A hidden word", {"model": "demo-encoder", "text": "The cat sat on the [MASK] and slept."}),
            ("The meaning of a sentence", {"model": "all-MiniLM-L6-v2", "text": "The film was long but beautiful."}),
        ),
    ),
    Entry(
        "mechanism",
        "Mechanism",
        "account_tree",
        ONE_TEXT,
        "Why this prediction?",
        "The heads that raised or lowered a predicted token, what they read, and why they looked there.",
        (
            (
                "A name is repeated",
                {"model": "demo-decoder", "text": "Mr and Mrs Smith went to town. Mr and Mrs", "reader": "L4H2"},
            ),
            (
                "“was” rather than “sat”",
                {"model": "demo-decoder", "text": "The cat sat on the mat. The cat", "versus": "sat"},
            ),
            ("A hidden word", {"model": "demo-encoder", "text": "The cat sat on the [MASK] and slept.", "at": "6"}),
        ),
    ),
    Entry(
        "conversation",
        "Conversation",
        "forum",
        ONE_TEXT,
        "Which part did the answer come from?",
        "A chat with documents, the answer, and the parts it rests on.",
        (
            ("Whose home?", {"chat": _chat("What is the home of Ada?")}),
            ("Whose pet?", {"chat": _chat("What is the pet of Ada?")}),
            ("Another person", {"chat": _chat("What is the home of Ben?")}),
        ),
    ),
    Entry(
        "generate",
        "Generate",
        "edit_note",
        ONE_TEXT,
        "What does a model look at while it generates?",
        "Every generated token with the tokens it attended to most.",
        (
            (
                "Continue a repeated phrase",
                {"model": "demo-decoder", "prompt": "Mr and Mrs Smith went to town. Mr and Mrs"},
            ),
            ("Continue a story", {"model": "demo-decoder", "prompt": "It was a dark and stormy night, and"}),
            ("Read a date", {"model": "demo-translator", "prompt": "The third of May, nineteen eighty-seven."}),
        ),
    ),
    Entry(
        "media",
        "Images & sounds",
        "image",
        ONE_TEXT,
        "Where does a model look in an image?",
        "Drop an image, a sound or a film: every head over it, and what each written word rests on.",
        (
            ("Two colored shapes", {"model": "demo-captioner", "example": "two-shapes.png"}),
            ("Three colored shapes", {"model": "demo-captioner", "example": "three-shapes.png"}),
            ("Digits dialed on a telephone", {"model": "demo-listener", "example": "digits.wav"}),
        ),
    ),
    Entry(
        "heads",
        "Heads",
        "grid_view",
        MANY_TEXTS,
        "What does each head do?",
        "Head types, similarity, importance and pruning, over several texts with controls.",
        (
            ("Label every head", {"model": "demo-decoder", "question": "What does each head do?"}),
            ("Find similar heads", {"model": "demo-encoder", "question": "Which heads are similar?"}),
            ("Rank heads by importance", {"model": "demo-decoder", "question": "Which heads matter?"}),
        ),
    ),
    Entry("files", "Files", "folder_open", MANY_TEXTS),
    Entry("language", "Language", "translate", MANY_TEXTS),
    Entry(
        "compare",
        "Compare",
        "compare_arrows",
        MODELS,
        "What differs between two models or texts?",
        "Paired heads with their divergence, side by side.",
        (
            ("Two encoders", {"model": ("demo-encoder", "all-MiniLM-L6-v2")}),
            (
                "One word changed",
                {
                    "model": "demo-encoder",
                    "compared": "The doctor finished his shift.",
                    "others": "The doctor finished her shift.",
                },
            ),
            (
                "Word order changed",
                {"model": "demo-encoder", "compared": "The dog bit the man.", "others": "The man bit the dog."},
            ),
        ),
    ),
    Entry(
        "training",
        "Training",
        "timeline",
        MODELS,
        "How does attention develop during training?",
        "Entropy, roles and loss over the steps of a recorded training.",
        (
            ("When do induction heads appear?", {}),
            ("Entropy over the steps", {"measure": "entropy"}),
            ("Attention to the first token", {"measure": "first_weight"}),
        ),
    ),
)


def pages() -> dict[str, list[StreamlitPage]]:
    """All pages by section; the first is what the bare address shows."""
    found: dict[str, list[StreamlitPage]] = {}
    for entry in PAGES:
        found.setdefault(entry.section, []).append(page_of(entry))
    return found


def page_of(entry: Entry) -> StreamlitPage:
    """The page of an entry, for the menu and for links."""
    return st.Page(
        _page(entry.name), title=entry.title, icon=entry.symbol, url_path=entry.name, default=entry is PAGES[0]
    )


def entry_of(name: str) -> Entry:
    """The entry of a page by its address."""
    return next(entry for entry in PAGES if entry.name == name)


def link_to(place: Place) -> None:
    """A link to a head on the page Explore."""
    chosen = {LAYER: str(place.layer), HEAD: str(place.head)}
    if place.stack:
        chosen[SITE] = f"{place.stack} {place.kind}"
    explore = entry_of("explore")
    st.page_link(page_of(explore), label=f"Open {place} in Explore", icon=explore.symbol, query_params=chosen)


def _page(name: str) -> Callable[[], None]:
    def show() -> None:
        from attention_analyzer.dashboard.error_boundary import guarded

        with guarded():
            import_module(f"attention_analyzer.dashboard.pages.{name}").show()

    show.__name__ = name
    return show
