"""All attention patterns of a text with AttnRead, under the model's own sdpa attention."""

import torch
from attnread import extract_attention
from common import load, report

model = load("sdpa").requires_grad_(False)


def run(ids):
    found = extract_attention(model, {"input_ids": ids})
    return [torch.stack([found["text", layer, head][0] for head in range(12)]) for layer in range(6)]


report(run)
