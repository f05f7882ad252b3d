"""The head view of a text with BertViz, written to a file."""

import torch
from bertviz import head_view
from common import FOLDER, TOKENS, load, report

model = load("eager")
path = FOLDER / f"bertviz-{TOKENS}.html"


def run(ids):
    with torch.no_grad():
        attentions = model(input_ids=ids, output_attentions=True).attentions
    page = head_view(attentions, [f"w{number}" for number in ids[0].tolist()], html_action="return")
    path.write_text(page.data, encoding="utf-8")
    return [layer[0] for layer in attentions]


report(run, path)
