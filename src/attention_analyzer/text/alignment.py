"""Which tokens of one record stand for which tokens of another, so that two patterns can be subtracted."""

from __future__ import annotations

from difflib import SequenceMatcher

from attention_analyzer.text.tokens import Tokens

#: Pairs of groups of token positions: ``(positions in the first, positions in the second)``.
Units = list[tuple[list[int], list[int]]]


def align(first: Tokens, second: Tokens) -> Units | None:
    """Matching groups of tokens; None where the two are the same, token by token.

    Equal texts meet at character boundaries that both tokenizers share; other texts meet word by word, and words that
    only one of them has are left out. Special tokens are paired in order where both have equally many.
    """
    if first.pieces == second.pieces:
        return None
    specials = [[i for i, special in enumerate(tokens.is_special) if special] for tokens in (first, second)]
    units: Units = []
    if len(specials[0]) == len(specials[1]):
        units += [([a], [b]) for a, b in zip(*specials, strict=True)]
    if first.texts and first.texts == second.texts and any(first.spans) and any(second.spans):
        units += _by_characters(first, second)
    else:
        units += _by_words(first, second)
    return sorted(units)


def _by_characters(first: Tokens, second: Tokens) -> Units:
    units: Units = []
    for segment in range(len(first.texts)):
        parts = [
            [
                (span[1], index)
                for index, span in enumerate(tokens.spans)
                if span is not None and tokens.segments[index] == segment and not tokens.is_special[index]
            ]
            for tokens in (first, second)
        ]
        shared = sorted({stop for stop, _ in parts[0]} & {stop for stop, _ in parts[1]})
        start = 0
        for stop in shared:
            groups = [[index for end, index in part if start < end <= stop] for part in parts]
            units.append((groups[0], groups[1]))
            start = stop
    return units


def _by_words(first: Tokens, second: Tokens) -> Units:
    texts = [tokens.word_texts for tokens in (first, second)]
    pieces = [
        {
            number: [i for i, word in enumerate(tokens.words) if word == number]
            for number in {word for word in tokens.words if word is not None}
        }
        for tokens in (first, second)
    ]
    matcher = SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    return [
        (pieces[0][match.a + step], pieces[1][match.b + step])
        for match in matcher.get_matching_blocks()
        for step in range(match.size)
        if match.a + step in pieces[0] and match.b + step in pieces[1]
    ]
