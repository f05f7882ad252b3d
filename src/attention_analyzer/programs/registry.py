"""The table of all rules. A new one is a file in ``rules/`` and one line here."""

from __future__ import annotations

from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.rules.brackets import MatchingBracket, OpenBracket, OpenQuote
from attention_analyzer.programs.rules.frequency import TokensByFrequency
from attention_analyzer.programs.rules.near_of_kind import NearOfKind
from attention_analyzer.programs.rules.nearest_of_kind import NearestOfKind
from attention_analyzer.programs.rules.nearness import Nearness
from attention_analyzer.programs.rules.offset import Offset
from attention_analyzer.programs.rules.position_in_word import WordStarts
from attention_analyzer.programs.rules.same_part import OwnSentence, Segment, Side
from attention_analyzer.programs.rules.same_token import NearestSameToken, SameToken
from attention_analyzer.programs.rules.special_tokens import Separators, Sinks, SpecialTokens
from attention_analyzer.programs.rules.starts import LineStart, PreviousSentenceEnd, SentenceEnd, SentenceStart
from attention_analyzer.programs.rules.successor import NearestSuccessor, Successors
from attention_analyzer.programs.rules.text_ends import FirstToken, LastToken
from attention_analyzer.programs.rules.token_class import SameClass, TokenClass
from attention_analyzer.programs.rules.window import Window
from attention_analyzer.programs.rules.word import NearWord, OwnWord, SameWord, WordStart
from attention_analyzer.programs.text_facts import KINDS

_WORDS = ("punctuation", "number", "function word", "name", "content word")

#: Every rule. Of two that say the same of some texts, the first is taken.
RULES: tuple[Rule, ...] = (
    *(Offset(step) for step in (-1, 0, 1, -2, 2, -3, 3, -4)),
    FirstToken(),
    LastToken(),
    Separators(),
    SpecialTokens(),
    Sinks(),
    NearestSameToken(),
    SameToken(),
    NearestSuccessor(),
    Successors(),
    MatchingBracket(),
    OpenBracket(),
    OpenQuote(),
    SentenceStart(),
    SentenceEnd(),
    PreviousSentenceEnd(),
    LineStart(),
    WordStart(),
    OwnWord(),
    NearWord(-1),
    NearWord(1),
    SameWord(),
    *(NearestOfKind(kind) for kind in _WORDS),
    *(NearestOfKind(kind, after=True) for kind in _WORDS),
    *(TokenClass(kind) for kind in KINDS[1:]),
    SameClass(),
    WordStarts(),
    TokensByFrequency(repeated=True),
    TokensByFrequency(repeated=False),
    *(Window(width, 0) for width in (2, 4, 8)),
    *(Window(0, width) for width in (2, 4, 8)),
    *(Window(width, width) for width in (1, 2, 4, 8)),
    *(Nearness(tokens, "before") for tokens in (1, 3, 10)),
    *(Nearness(tokens, "after") for tokens in (1, 3, 10)),
    *(Nearness(tokens, "both") for tokens in (1, 3, 10)),
    *(NearOfKind(kind, tokens) for kind in _WORDS for tokens in (3, 10)),
    OwnSentence(),
    Segment(own=True),
    Segment(own=False),
    Side(after=False),
    Side(after=True),
)
RULE_OF: dict[str, Rule] = {rule.name: rule for rule in RULES}
