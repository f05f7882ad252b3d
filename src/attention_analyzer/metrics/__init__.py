"""Per-head metrics: one file each, all gathered in a single pass over the weights.

A new metric is a new file in this room and one line in :data:`METRICS`. What a metric of your own needs is here, too:
:class:`Metric`, the reductions that it can name in ``needs``, and the :class:`Statistics` that it reads.
"""

from __future__ import annotations

from attention_analyzer.metrics.confidence import Confidence
from attention_analyzer.metrics.distance import MeanDistance
from attention_analyzer.metrics.effective_keys import EffectiveKeys
from attention_analyzer.metrics.entropy import MeanEntropy
from attention_analyzer.metrics.first_weight import FirstWeight
from attention_analyzer.metrics.local_weight import LocalWeight
from attention_analyzer.metrics.max_weight import MaxWeight
from attention_analyzer.metrics.mean_weight import MeanWeight
from attention_analyzer.metrics.metric import Metric
from attention_analyzer.metrics.min_weight import MinWeight
from attention_analyzer.metrics.next_weight import NextWeight
from attention_analyzer.metrics.normalized_entropy import NormalizedEntropy
from attention_analyzer.metrics.other_weight import OtherWeight
from attention_analyzer.metrics.previous_weight import PreviousWeight
from attention_analyzer.metrics.punctuation_weight import PunctuationWeight
from attention_analyzer.metrics.received_concentration import ReceivedConcentration
from attention_analyzer.metrics.self_weight import SelfWeight
from attention_analyzer.metrics.separator_weight import SeparatorWeight
from attention_analyzer.metrics.special_weight import SpecialWeight
from attention_analyzer.weights.reductions import (
    Distance,
    Entropy,
    GroupWeight,
    LargestWeight,
    MatchWeight,
    OffsetWeight,
    ReceivedWeight,
    Reduction,
    SmallestWeight,
    Statistics,
    StrongestKey,
    TotalWeight,
    WeightedColumnSum,
    WindowWeight,
)

#: Every metric, in the order of the columns of a head table.
METRICS: tuple[Metric, ...] = (
    MeanWeight(),
    MaxWeight(),
    MinWeight(),
    MeanEntropy(),
    NormalizedEntropy(),
    EffectiveKeys(),
    Confidence(),
    MeanDistance(),
    SelfWeight(),
    OtherWeight(),
    PreviousWeight(),
    NextWeight(),
    FirstWeight(),
    SpecialWeight(),
    SeparatorWeight(),
    PunctuationWeight(),
    LocalWeight(),
    ReceivedConcentration(),
)

__all__ = [
    "METRICS",
    "Confidence",
    "Distance",
    "EffectiveKeys",
    "Entropy",
    "FirstWeight",
    "GroupWeight",
    "LargestWeight",
    "LocalWeight",
    "MatchWeight",
    "MaxWeight",
    "MeanDistance",
    "MeanEntropy",
    "MeanWeight",
    "Metric",
    "MinWeight",
    "NextWeight",
    "NormalizedEntropy",
    "OffsetWeight",
    "OtherWeight",
    "PreviousWeight",
    "PunctuationWeight",
    "ReceivedConcentration",
    "ReceivedWeight",
    "Reduction",
    "SelfWeight",
    "SeparatorWeight",
    "SmallestWeight",
    "SpecialWeight",
    "Statistics",
    "StrongestKey",
    "TotalWeight",
    "WeightedColumnSum",
    "WindowWeight",
]
