"""A head's numbers as sentences that need no reading up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attention_analyzer.dashboard.guard import plain

if TYPE_CHECKING:
    from attention_analyzer.dashboard.choices import Place
    from attention_analyzer.record import AttentionRecord

#: What each number of the head table means, for column help.
MEANINGS = {
    "mean_weight": "Mean weight over the cells that can be seen.",
    "max_weight": "The largest single weight.",
    "min_weight": "The smallest weight among the cells that can be seen.",
    "entropy": "How spread the attention is, in nats: 0 is one token, ln(n) is all n tokens alike.",
    "normalized_entropy": "Entropy as a share of the most that is possible for each query.",
    "effective_keys": "How many tokens a query looks at in effect: e to the power of the entropy.",
    "confidence": "Mean of each query's largest weight.",
    "distance": "How many tokens away the attention goes, on average.",
    "self_weight": "Weight of a token on itself.",
    "other_weight": "Weight on all other tokens.",
    "previous_weight": "Weight on the token just before.",
    "next_weight": "Weight on the token just after.",
    "first_weight": "Weight on the first token, where many heads rest.",
    "special_weight": "Weight on tokens that the tokenizer added.",
    "separator_weight": "Weight on tokens that end or divide texts.",
    "punctuation_weight": "Weight on punctuation.",
    "local_weight": "Weight on tokens at most two away, the token itself included.",
    "received_concentration": "How unevenly the received attention lies on the tokens.",
}


def spread(row: Mapping[str, float]) -> str:
    """How wide a head looks."""
    keys, share = row["effective_keys"], row["normalized_entropy"]
    manner = "It is focused" if share < 0.35 else "It is distributed" if share > 0.75 else "It is in between"
    return f"{manner}: a token looks at about **{keys:.1f}** tokens in effect (entropy {row['entropy']:.2f} nats)."


def reach(row: Mapping[str, float]) -> str:
    """How far a head looks."""
    distance = row["distance"]
    if distance != distance:  # noqa: PLR0124 (NaN is not itself: cross-attention has no distance)
        return "Its keys are another sequence, so distance has no meaning here."
    near = row["local_weight"]
    return f"On average it looks **{distance:.1f}** tokens away; {near:.0%} of its weight stays within two tokens."


def goals(row: Mapping[str, float]) -> str:
    """Where most of a head's weight goes, by simple places."""
    places = {
        "the token itself": row["self_weight"],
        "the token before": row["previous_weight"],
        "the token after": row["next_weight"],
        "special tokens": row["special_weight"],
        "punctuation": row["punctuation_weight"],
    }
    found = sorted(((value, name) for name, value in places.items() if value >= 0.1), reverse=True)
    if not found:
        return "No simple place gets a tenth of its weight."
    return "Its weight goes to " + ", ".join(f"{name} ({value:.0%})" for value, name in found[:3]) + "."


def weight(record: AttentionRecord, place: Place, query: int, key: int) -> str:
    """One weight, and its rank among those of its query."""
    entry = record.entry(name=place.site)
    row = entry.weights[place.head, query]
    value = float(row[key])
    rank = int((row > row[key]).sum()) + 1
    order = "the most" if rank == 1 else f"number {rank} of {len(row)}"
    names = plain(entry.queries.pieces[query].strip() or "␣"), plain(entry.keys.pieces[key].strip() or "␣")
    return f"“{names[0]}” looks at “{names[1]}” with weight **{value:.3f}**, {order} among all that it looks at."
