"""Tokens as the page needs them.

Character spans count Python's code points and a browser counts UTF-16 units, so the text is cut here: each token comes
with the stretch of text it stands for (``surface``) and what lies before it (``gap``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_analyzer.text.parts import Parts, places_of
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.text.visible import visible
from attention_analyzer.view.media_content import places_content, roles_content
from attention_analyzer.view.part_content import levels_content


def token_content(tokens: Tokens, own: Sequence[Parts] = ()) -> dict[str, Any]:
    """One token table of the header, with the levels of its parts."""
    surfaces, gaps = _cut(tokens)
    words = [None if word is None else int(word) for word in tokens.words]
    grouped = [word for word in words if word is not None]
    segments = [int(segment) for segment in tokens.segments]
    return {
        "pieces": [_marked(piece) for piece in tokens.pieces],
        "surfaces": surfaces,
        "gaps": gaps,
        "words": words if len(set(grouped)) < len(grouped) else None,
        "special": [index for index, special in enumerate(tokens.is_special) if special],
        "segments": segments if len(set(segments)) > 1 else None,
        "places": places_content(tokens),
        "roles": roles_content(tokens),
        "levels": levels_content(tokens, own),
    }


def _marked(piece: str) -> str:
    """A piece with marks for what shows nothing; white space alone is marked by the page."""
    return visible(piece) if piece.strip() else piece


def _cut(tokens: Tokens) -> tuple[list[str], list[str]]:
    """Surfaces and the gaps before them; several tokens of one character (byte-level pieces) share it."""
    if not any(tokens.spans) or not tokens.texts:
        return list(tokens.pieces), [""] * len(tokens)
    surfaces, gaps = [], []
    done = [0] * len(tokens.texts)
    for index, span in enumerate(places_of(tokens)):
        segment = tokens.segments[index]
        if span is None or segment >= len(tokens.texts):
            surfaces.append(tokens.pieces[index])
            gaps.append("")
            continue
        start, stop = span
        text = tokens.texts[segment]
        gaps.append(text[done[segment] : start])
        surfaces.append(tokens.pieces[index] if tokens.is_special[index] else text[max(start, done[segment]) : stop])
        done[segment] = max(done[segment], stop)
    return surfaces, gaps
