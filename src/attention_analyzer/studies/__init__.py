"""What can be learned about every head from many texts, all in one run; see :meth:`.AttentionAnalyzer.study`."""

from typing import Any

from attention_analyzer.corpus.measures import Measures
from attention_analyzer.heads.depth import DepthProfiles
from attention_analyzer.heads.similarity import HeadSimilarity
from attention_analyzer.interventions.means import MeanHeadOutputs
from attention_analyzer.linguistics.questions import WordAnswers
from attention_analyzer.patterns.cache_advice import CacheSizes
from attention_analyzer.patterns.labels import Patterns
from attention_analyzer.programs.study import Programs
from attention_analyzer.run.needs import Needs
from attention_analyzer.run.state import State
from attention_analyzer.run.study import MeasuredBatch, Study
from attention_analyzer.text.padding import valid_of

#: Every study, by name.
STUDIES: dict[str, type[Study[Any]]] = {
    "patterns": Patterns,
    "similarity": HeadSimilarity,
    "depth": DepthProfiles,
    "cache sizes": CacheSizes,
    "programs": Programs,
    "measures": Measures,
    "mean outputs": MeanHeadOutputs,
    "word answers": WordAnswers,
}

__all__ = [
    "STUDIES",
    "CacheSizes",
    "DepthProfiles",
    "HeadSimilarity",
    "MeanHeadOutputs",
    "MeasuredBatch",
    "Measures",
    "Needs",
    "Patterns",
    "Programs",
    "State",
    "Study",
    "WordAnswers",
    "valid_of",
]
