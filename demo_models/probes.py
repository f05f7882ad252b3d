"""What every head does: on a fixed text, and on random tokens that repeat.

Random tokens carry no meaning, so a head that finds its place in their repetition does so by the
repetition alone (Olsson et al. 2022).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from demo_models.repetition import SPECIAL_TOKENS

BLOCK, REPEATS, EXAMPLES = 25, 4, 10

# Written for this purpose, so that it is in no training text.
PROBE_TEXT = (
    "The quick brown fox jumps over the lazy dog. The dog is too tired to care, so the fox runs "
    "back into the forest. Anna and her brother Tom saw it all from the kitchen window. She told "
    "him that the fox lives under the old bridge near the river, but he did not believe her. "
    "The next morning they took some bread and a blue bag and walked to the bridge. There was "
    "nobody there. Tom wanted to go home, because it was cold and his shoes were wet. Then the "
    "quick brown fox came out, looked at them for a moment, and was gone again."
)


def attention_weights(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Weights `[layer, example, head, query, key]` of a causal model with eager attention."""
    with torch.no_grad():
        return torch.stack(model(input_ids, output_attentions=True).attentions)


def repeated_random_tokens(vocabulary: int, bos: int, seed: int = 0) -> Tensor:
    """`EXAMPLES` rows: `<s>`, then `BLOCK` random tokens `REPEATS` times."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(SPECIAL_TOKENS, vocabulary, size=(EXAMPLES, BLOCK))
    rows = np.concatenate([np.full((EXAMPLES, 1), bos), np.tile(blocks, REPEATS)], axis=1)
    return torch.from_numpy(rows)


def repetition_strengths(weights: Tensor) -> dict[str, Tensor]:
    """Per `[layer, head]`, on `repeated_random_tokens`.

    - induction (prefix matching): the weight from a token to the tokens that followed its earlier
      occurrences, mean over all tokens that have one;
    - duplicate_token: the same for the earlier occurrences themselves;
    - previous_token: the weight on the token just before, mean over all tokens but the first.
    """
    rows, columns = np.indices(weights.shape[-2:])
    earlier = torch.from_numpy((columns >= 1) & (columns < rows) & ((rows - columns) % BLOCK == 0))
    following = torch.zeros_like(earlier)
    following[:, 1:] = earlier[:, :-1]
    repeated = rows[:, 0] > BLOCK
    return {
        "induction": (weights * following).sum(-1)[..., repeated].mean((1, 3)),
        "previous_token": weights.diagonal(-1, -2, -1).mean((1, 3)),
        "duplicate_token": (weights * earlier).sum(-1)[..., repeated].mean((1, 3)),
    }


def text_statistics(weights: Tensor) -> dict[str, Tensor]:
    """Per `[layer, head]`, means over the queries of one text.

    Entropy is in nats, distance in tokens. The weights on the previous and on the first token
    leave out the first query, which has no choice.
    """
    size = weights.shape[-1]
    places = torch.arange(size)
    distances = (places[:, None] - places[None, :]).abs()
    return {
        "entropy": torch.special.entr(weights).sum(-1).mean((1, 3)),
        "max_weight": weights.amax(-1).mean((1, 3)),
        "distance": (weights * distances).sum(-1).mean((1, 3)),
        "self_weight": weights.diagonal(0, -2, -1).mean((1, 3)),
        "previous_weight": weights.diagonal(-1, -2, -1).mean((1, 3)),
        "first_weight": weights[..., 1:, 0].mean((1, 3)),
    }
