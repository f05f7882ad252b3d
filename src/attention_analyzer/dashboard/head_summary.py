"""A head's numbers as sentences that need no reading up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.patterns.in_one_text import Remark, remarks
from attention_analyzer.text.visible import visible

if TYPE_CHECKING:
    from attention_analyzer.dashboard.inputs import Place
    from attention_analyzer.record import AttentionRecord

#: What each number of the head table means, for column help.
MEANINGS = {
    "mean_weight": "Mean weight over all visible query–key pairs.",
    "max_weight": "The largest single weight.",
    "min_weight": "The smallest weight over all visible query–key pairs.",
    "entropy": "How spread the attention is, in nats: 0 for one token, ln(n) for n tokens equally.",
    "normalized_entropy": "Entropy divided by its maximum for each query.",
    "effective_keys": "Effective number of tokens a query attends to: exp(entropy).",
    "confidence": "Mean of each query's largest weight.",
    "distance": "Mean distance of the attended tokens, in tokens.",
    "self_weight": "Weight of a token on itself.",
    "other_weight": "Weight on all other tokens.",
    "previous_weight": "Weight on the token just before.",
    "next_weight": "Weight on the token just after.",
    "first_weight": "Weight on the first token (a common attention sink).",
    "special_weight": "Weight on special tokens, which the tokenizer adds.",
    "separator_weight": "Weight on separator tokens.",
    "punctuation_weight": "Weight on punctuation.",
    "local_weight": "Weight on tokens at most two positions away, including the token itself.",
    "received_concentration": "How unevenly attention is distributed over the keys.",
}

#: What a head that shows a pattern does, by the pattern's name.
DOES = {
    "self": "looks at the token itself",
    "previous_token": "looks at the previous token",
    "next_token": "looks at the next token",
    "fixed_offset": "looks at a fixed distance",
    "induction": "looks at what followed an earlier copy of the token",
    "duplicate_token": "looks at earlier copies of the token",
    "retrieval": "retrieves a matching token from far back",
    "first_token": "uses the first token as a sink",
    "separator": "uses separator tokens as a sink",
    "special_token": "uses special tokens as a sink",
    "punctuation": "looks at punctuation",
    "local_window": "looks at tokens nearby",
    "same_sentence": "stays within the sentence",
    "vertical": "looks at the same few tokens from all positions",
    "broad": "spreads attention evenly",
    "mixed": "does several things at once",
}


def spread(row: Mapping[str, float]) -> str:
    """How wide a head looks."""
    keys, share = row["effective_keys"], row["normalized_entropy"]
    manner = "It is focused" if share < 0.35 else "It is spread out" if share > 0.75 else "It is moderately focused"
    return f"{manner}: a token looks at about **{keys:.1f}** tokens in effect (entropy {row['entropy']:.2f} nats)."


def reach(row: Mapping[str, float]) -> str:
    """How far a head looks."""
    distance = row["distance"]
    if math.isnan(distance):
        return "Cross-attention: distance does not apply."
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
        return "No single target (itself, neighbors, special tokens, punctuation) gets 10 % of its weight."
    return "Its weight goes to " + ", ".join(f"{name} ({value:.0%})" for value, name in found[:3]) + "."


def weight(record: AttentionRecord, place: Place, query: int, key: int) -> str:
    """One weight, and its rank among those of its query."""
    entry = record.entry(name=place.site)
    row = entry.weights[place.head, query]
    value = float(row[key])
    rank = int((row > row[key]).sum()) + 1
    order = "the most" if rank == 1 else f"number {rank} of {len(row)}"
    pieces = entry.queries.pieces[query], entry.keys.pieces[key]
    names = [plain(visible(piece.strip() or piece)) for piece in pieces]
    return f"“{names[0]}” looks at “{names[1]}” with weight **{value:.3f}**, {order} of all tokens it attends to."


def labels(place: Place, record: AttentionRecord) -> list[str]:
    """What a head does in this text: its names where they are certain, else the weight that stands out, if any does."""
    site = next(number for number, each in enumerate(record.sites) if each.name == place.site)
    said = [remark for remark in remarks(record) if (remark.site, remark.head) == (site, place.head)]
    if not said:
        return [f"Of {place} nothing stands out in this text."]
    return [f"{place} {_named(each)}" if each.certain else f"{place} puts **{plain(each.text)}**." for each in said]


def _named(remark: Remark) -> str:
    does = DOES.get(remark.name, remark.name.replace("_", " "))
    control = "" if math.isnan(remark.control) else f", control {remark.control:.2f}"
    return f"{does}: **{remark.strength:.2f}**{control}"
