"""The table of all patterns. A new one is a new file in this room and one line here."""

from __future__ import annotations

from attention_analyzer.patterns.broad import Broad
from attention_analyzer.patterns.copying import Copying
from attention_analyzer.patterns.duplicate_token import DuplicateToken
from attention_analyzer.patterns.first_token import FirstToken
from attention_analyzer.patterns.fixed_offset import FixedOffset
from attention_analyzer.patterns.induction import Induction
from attention_analyzer.patterns.local_window import LocalWindow
from attention_analyzer.patterns.mixed import Mixed
from attention_analyzer.patterns.next_token import NextToken
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.previous_token import PreviousToken
from attention_analyzer.patterns.punctuation import Punctuation
from attention_analyzer.patterns.retrieval import Retrieval
from attention_analyzer.patterns.same_sentence import SameSentence
from attention_analyzer.patterns.self_token import SelfToken
from attention_analyzer.patterns.separator import Separator
from attention_analyzer.patterns.special_token import SpecialToken
from attention_analyzer.patterns.vertical import Vertical

_NAMED: tuple[Pattern, ...] = (
    SelfToken(),
    PreviousToken(),
    NextToken(),
    FixedOffset(),
    Induction(),
    DuplicateToken(),
    Retrieval(),
    FirstToken(),
    Separator(),
    SpecialToken(),
    Punctuation(),
    LocalWindow(),
    SameSentence(),
    Vertical(),
    Broad(),
)
#: Every pattern, the most specific first: where several fit a head, the first names it. What a head does where the text
#: asks for it (induction) comes before where it rests otherwise (the first token), and what it writes after both.
PATTERNS: tuple[Pattern, ...] = (*_NAMED, Copying(), Mixed(_NAMED))


def pattern_named(name: str) -> Pattern:
    """The pattern of that name.

    Raises:
        SelectionError: there is none.
    """
    from attention_analyzer.errors import SelectionError

    found = next((pattern for pattern in PATTERNS if pattern.name == name), None)
    if found is None:
        raise SelectionError(f"There is no pattern {name!r}; the patterns are {', '.join(p.name for p in PATTERNS)}.")
    return found
