"""Tables for people: plain column titles with a sentence of help, numbers that fit, and no columns without content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.head_summary import MEANINGS

if TYPE_CHECKING:
    import pandas as pd

#: Columns of result tables: title and help. Metrics have their help in ``head_summary``.
TITLES: dict[str, tuple[str, str]] = {
    "layer": ("Layer", "Counted from zero."),
    "head": ("Head", "Counted from zero within its layer."),
    "stack": ("Stack", "Encoder or decoder."),
    "kind": ("Attention", "self: within one sequence. cross: from the decoder to the encoder."),
    "name": ("Name", "Layer and head."),
    "heads": ("Heads", "The heads that were ablated together."),
    "metric": ("Metric", "What was measured."),
    "text": ("Text", "The text, or its number."),
    "texts": ("Texts", "Number of texts in which this is defined."),
    "pattern": ("Head type", "The pattern of attention that is scored."),
    "label": ("Label", "The head type or the relation."),
    "also": ("Also", "Further head types that apply."),
    "strength": ("Score", "How strongly the head shows the pattern, from 0 to 1."),
    "corrected": ("Score above control", "0: no more than the control. 1: the maximum."),
    "chance": ("Uniform control", "The score that evenly spread attention would have."),
    "position": ("Position control", "The score that the position alone explains."),
    "low": ("95 % from", "Lower end of the 95 % confidence interval."),
    "high": ("95 % to", "Upper end of the 95 % confidence interval."),
    "p": ("p-value", "One-sided test over texts."),
    "q": ("q-value", "Corrected for testing many heads (Benjamini–Hochberg)."),
    "which": ("Detail", "The offset, or the tokens."),
    "shows": ("Shown", "Whether the score passes its threshold on this text."),
    "mean": ("Mean", "Mean over texts."),
    "spread": ("Std. dev.", "Standard deviation over texts."),
    "smallest": ("Min.", "Smallest value."),
    "largest": ("Max.", "Largest value."),
    "value": ("Value", "The measured value."),
    "token": ("Token", "As the text spells it."),
    "piece": ("Token", "As the text spells it."),
    "query": ("From", "Position of the query token."),
    "key": ("To", "Position of the key token."),
    "query_piece": ("From token", "The token that attends."),
    "key_piece": ("To token", "The token that is attended to."),
    "weight": ("Weight", "Attention weight, from 0 to 1."),
    "written": ("Generated token", "The token that the model generated."),
    "divergence": ("Divergence", "Jensen–Shannon divergence in nats: 0 is identical, 0.69 no overlap."),
    "matched": ("Matched", "Whether the pair matches better than chance."),
    "importance": ("Importance", "Effect of the head on the loss."),
    "cluster": ("Cluster", "Heads of one number attend alike."),
    "stable": ("Stability", "How often the head stays in its cluster when texts are resampled."),
    "nearest": ("Most similar head", "The head with the smallest distance."),
    "distance": ("Distance", MEANINGS["distance"]),
    "specialised": ("Outlier", "Far from every other head."),
    "group": ("Redundant group", "Heads of one group attend to the same tokens."),
    "method": ("Method", "Attribution method."),
    "comprehensiveness": ("Comprehensiveness", "Drop when the most important tokens are deleted: higher is better."),
    "sufficiency": ("Sufficiency", "Drop when only the most important tokens are kept: lower is better."),
    "deletion_area": ("Deletion curve", "Mean prediction during deletion: lower is better."),
    "ahead_of_random": ("Better than random", "Fraction of random orders that the method beats."),
    "beats_random": ("Measures better than random", "Of the three measures."),
    "worse_than_random": ("Measures worse than random", "Of the three measures."),
    "onset": ("Onset (step)", "Training step at which the head acquires the role."),
    "role": ("Role", "Head type whose onset is given."),
    "lost": ("Lost (step)", "Training step at which the head loses the role."),
    "questions": ("Examples", "Number of tested words."),
    "accuracy": ("Accuracy", "Fraction of examples for which the head's strongest key is right."),
    "held_out": ("Accuracy on unseen sentences", "The number to report: the head was chosen on other sentences."),
    "chosen": ("Accuracy when chosen", "Accuracy on the sentences on which the head was chosen; optimistic."),
    "baseline": ("Best baseline", "Accuracy of the best rule that knows only positions."),
    "better_heads": ("Heads above baseline", "Number of heads that beat the baseline."),
    "before": ("Before", "Probability without the change."),
    "after": ("After", "Probability with the change."),
    "kl": ("KL divergence", "Change of the prediction in nats."),
    "change": ("Change", "After minus before."),
    "order": ("Order", "The order in which heads are ablated."),
    "share": ("Fraction", "Fraction of all heads."),
    "loss": ("Loss", "In nats per token."),
    "place": ("Location", "File and line."),
    "reason": ("Reason", "Why the row was skipped."),
    "content": ("Text", "The text around it."),
    "found": ("Matches", "Queries whose strongest key matches."),
    "asked": ("Queries", "Query tokens that were tested."),
    "step": ("Step", "Training step."),
    "component": ("Component", "A head, an MLP, an embedding or a bias."),
    "effect": ("Effect", "What it adds to the logit."),
    "side": ("Side", "The side of the query or of the key."),
    "model": ("Model", ""),
}


def title_of(name: str) -> str:
    """A column or a metric in words: ``self_weight`` is *Self weight*."""
    if name in TITLES:
        return TITLES[name][0]
    words = str(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def titles(table: pd.DataFrame) -> dict[str, Any]:
    """The ``column_config`` of a table: title, help and number format of every column."""
    found: dict[str, Any] = {}
    for name, column in table.items():
        text = str(name)
        meaning = TITLES.get(text, ("", ""))[1] or MEANINGS.get(text)
        if column.dtype.kind == "f":
            found[text] = st.column_config.NumberColumn(title_of(text), help=meaning, format="%.3f")
        else:
            found[text] = st.column_config.Column(title_of(text), help=meaning)
    return found


def worth_showing(table: pd.DataFrame) -> list[str]:
    """The columns without those that hold nothing, or the same stack and kind in every row."""
    constant = [name for name in ("stack", "kind") if name in table and table[name].nunique() <= 1]
    return [str(name) for name in table if name not in constant and not (len(table) and table[name].isna().all())]


def show_table(table: pd.DataFrame, **options: Any) -> Any:
    """Draw a table with readable columns; options are those of :func:`streamlit.dataframe`."""
    config = titles(table) | (options.pop("column_config", None) or {})
    order = worth_showing(table)
    return st.dataframe(table, hide_index=True, column_config=config, column_order=order, placeholder="–", **options)
