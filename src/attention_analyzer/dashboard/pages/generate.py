"""Generate: a model writes, and each written token shows what it looked at."""

from __future__ import annotations

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.export import offer_file, offer_script, offer_table
from attention_analyzer.dashboard.inputs import OWN_EXAMPLES, head_boxes, model_box
from attention_analyzer.dashboard.model_cache import analyzer_of, asking
from attention_analyzer.dashboard.persistence import keep, restore, text_box
from attention_analyzer.dashboard.viewer_sync import linked_view, token_boxes
from attention_analyzer.errors import InputError
from attention_analyzer.record import AttentionRecord
from attention_analyzer.view.generation import written_tokens

PROMPT, COUNT, VARY, SEED = "prompt", "tokens", "vary", "seed"
#: By model or else by architecture.
_EXAMPLES = {
    **OWN_EXAMPLES,
    "encoder-decoder": "translate English to German: The house is old.",
    "decoder": "Mr and Mrs Smith went to town. Mr and Mrs",
}


def show() -> None:
    st.header("What does the model look at while it generates?")
    models = model_box(default=("demo-decoder",))
    if not models:
        st.info("Choose a model that generates text, such as demo-decoder or demo-translator.")
        return
    name = models[0]
    loaded = analyzer_of(name).loaded
    if not loaded.can_generate:
        raise InputError(
            f"{name} cannot generate text; choose a model that can, such as demo-decoder or demo-translator."
        )
    example = _EXAMPLES.get(name) or _EXAMPLES.get(loaded.architecture, "")
    prompt = text_box("Prompt", example, PROMPT, _EXAMPLES.values(), max_chars=20_000, height=80)
    if not prompt.strip():
        st.info("Enter a prompt.")
        return
    count, seed = _options()
    with st.spinner("Generating …"):
        record = written(name, prompt, count, seed)
    st.caption("Written")
    st.code(
        str(record.notes["written"]).strip() or "(empty: the model stopped immediately)", language=None, wrap_lines=True
    )
    views = st.container()
    place = head_boxes(record)
    query, key = token_boxes(record, place)
    with views:
        linked_view(record, place, query, key, name=f"written-{name}", height=560)
    st.subheader("What each generated token attended to")
    st.caption("Means over all heads of all layers; the row of a token is that of the position which predicts it.")
    table = written_tokens(record)
    show_table(table, width="stretch")
    with st.expander("Export"):
        offer_table(table, "written", "Generated tokens")
        offer_file("Page (HTML)", lambda: record.html().encode(), "written.html", "text/html")
    offer_script(_script(name, prompt, count, seed), "written")


@st.cache_resource(max_entries=50, show_spinner=False)
def written(name: str, prompt: str, count: int, seed: int | None) -> AttentionRecord:
    """A record of what the model wrote; the same answer for the same question, also where it is drawn by chance."""
    from attention_analyzer.random_state import restored_draws

    with asking(name) as analyzer, restored_draws(seed=seed):
        if seed is None:
            return analyzer.generate(prompt, max_new_tokens=count)
        return analyzer.generate(prompt, max_new_tokens=count, do_sample=True)


def _options() -> tuple[int, int | None]:
    """How many tokens, and the seed of the draw; None for the likeliest token each time."""
    columns = st.columns([2, 2, 2], vertical_alignment="bottom")
    for key, otherwise in ((COUNT, 30), (VARY, False), (SEED, 0)):
        restore(key, otherwise)
    count = columns[0].number_input("Tokens to generate", 1, 400, key=COUNT, bind="query-params")
    vary = columns[1].toggle(
        "Sample",
        key=VARY,
        bind="query-params",
        help="Sample from the model's probabilities instead of greedy decoding.",
    )
    keep(COUNT, count)
    keep(VARY, vary)
    if not vary:
        return int(count or 1), None
    seed = columns[2].number_input(
        "Seed", 0, 9999, key=SEED, bind="query-params", help="Change the number for a different sample."
    )
    keep(SEED, seed)
    return int(count or 1), int(seed or 0)


def _script(name: str, prompt: str, count: int, seed: int | None) -> list[str]:
    drawn = seed is not None
    return [
        *(["import torch", ""] if drawn else []),
        f"analyzer = AttentionAnalyzer({name!r})",
        *([f"torch.manual_seed({seed})"] if drawn else []),
        f"record = analyzer.generate({prompt!r}, max_new_tokens={count}{', do_sample=True' if drawn else ''})",
        'print(record.notes["written"])',
        'record.generated_tokens().to_csv("written.csv", index=False)',
        'record.to_html("written.html")',
    ]
