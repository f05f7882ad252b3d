"""Generate: a model writes, and each written token shows what it looked at."""

from __future__ import annotations

import streamlit as st

from attention_analyzer.dashboard.choices import analyzer_of, model_box
from attention_analyzer.dashboard.export import offer_file, offer_script, offer_table
from attention_analyzer.dashboard.viewer_component import attention_view
from attention_analyzer.errors import InputError
from attention_analyzer.record import AttentionRecord
from attention_analyzer.view.written import written_tokens


def show() -> None:
    st.header("What does the model look at while it writes?")
    models = model_box()
    if not models:
        st.info("Choose a model that writes, such as demo-decoder.")
        return
    columns = st.columns([4, 1])
    prompt = columns[0].text_area("Prompt", "Once upon a time", key="prompt", bind="query-params", max_chars=4000)
    count = columns[1].number_input("Tokens to write", 1, 400, 30, key="tokens", bind="query-params")
    sample = columns[1].toggle(
        "Vary", key="vary", bind="query-params", help="Draw tokens by chance, with a fixed seed."
    )
    analyzer = analyzer_of(models[0])
    if not analyzer.loaded.can_generate:
        writers = "demo-decoder or demo-translator"
        raise InputError(f"{models[0]} reads text but cannot write any; choose a model such as {writers}.")
    with st.spinner("Writing …"):
        record = written(models[0], prompt or "", int(count or 1), bool(sample))
    st.markdown("**Written**")
    st.text(str(record.notes["written"]).strip() or "(nothing: the model ended at once)")
    attention_view(record, key=f"view-{record.fingerprint}-{models[0]}", height=560)
    st.subheader("What each written token looked at")
    table = written_tokens(record)
    st.dataframe(table, hide_index=True, width="stretch")
    with st.expander("Export"):
        offer_table(table, "written")
        offer_file("Page (HTML)", lambda: record.html().encode(), "written.html", "text/html")
        offer_script(
            [
                f"analyzer = AttentionAnalyzer({models[0]!r})",
                f"record = analyzer.generate({prompt!r}, max_new_tokens={count})",
                'print(record.notes["written"])',
            ]
        )


@st.cache_resource(max_entries=50, show_spinner=False)
def written(name: str, prompt: str, count: int, sample: bool) -> AttentionRecord:
    """A record of what the model wrote; the same answer for the same question, also where it is drawn by chance."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return analyzer_of(name).generate(prompt, max_new_tokens=count, do_sample=sample)
