"""The model cards, written from the numbers in each folder's `measured.json`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

#: Heads of a pattern that a card names.
NAMED = 4
CURVE_ROWS = 10
TEXT_SOURCES = """\
- 95 English novels from LitBank's `original/` folder (public domain), about 15.5 million tokens;
- 950 short simple-English stories, a subset of TinyStories (CDLA-Sharing-1.0), about 0.2 million
  tokens. They make up a fifth of the windows, so each is seen many times.

Five more novels and fifty more stories were held out whole. No text is shipped with the model."""
LICENCE = """\
The weights, the tokenizer and this card are released under the licence of the package. The training
texts keep their sources' own licences and are not part of the package."""


def write_card(folder: Path) -> None:
    """Write `README.md` into the folder of a published model."""
    measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    body = _BODIES[folder.name](measured)
    curve = _loss_curve(folder / "loss.csv")
    (folder / "README.md").write_text(f"{body}\n{curve}\n## Licence\n\n{LICENCE}\n", "utf-8")


def write_history_card(folder: Path, steps: list[int], checkpoints: dict[str, int], rows: int) -> None:
    """Write `README.md` into the folder of the decoder's history."""
    listed = "\n".join(f"- `{name}/`: after step {step:,}" for name, step in checkpoints.items())
    (folder / "README.md").write_text(
        f"""\
# How the attention of demo-decoder came to be

`history.parquet` holds {rows:,} rows: every head at {len(steps)} moments of the training, from the untrained
model to step {steps[-1]:,}. The moments are log-spaced, and once more so from the start of the second
stage of the training, in which more of the text repeats itself (see the card of `demo-decoder`).

| column | meaning |
|---|---|
| step, tokens_seen | how far the training was |
| loss | of the whole model, nats per token of held-out novels |
| stack, kind, layer, head | which head; layers and heads are zero-based |
| entropy, max_weight, distance, self_weight, previous_weight, first_weight | means over the queries of one \
fixed text; entropy in nats, distance in tokens |
| induction, previous_token, duplicate_token | strength on random tokens that repeat, in [0, 1] |
| pattern, pattern_queries | float16 weights `[query, key]` on one short text, at three moments; number of queries |

`attention_analyzer.training.History.load("demo-decoder-history")` reads it.

Weights of two of the moments, to be loaded like any model (`checkpoints.json` names their steps):

{listed}

The last moment is `demo-decoder` itself.

## Licence

{LICENCE}
""",
        "utf-8",
    )


def _decoder(m: dict[str, Any]) -> str:
    heads = "\n".join(
        f"| {label} | {_heads(m['heads'][name])} |"
        for name, label in (
            ("induction", "induction (prefix matching)"),
            ("previous_token", "previous token"),
            ("duplicate_token", "duplicate token"),
        )
    )
    return f"""\
# demo-decoder

A small causal language model of the Llama architecture: 5 layers × 6 query heads (3 key-value
heads, so pairs of query heads share keys), RoPE, hidden size 192, tied embeddings,
{m["parameters"]:,} parameters. Its tokenizer is a case-keeping byte-level BPE of 6,144 pieces.
It exists to be looked at: it is small enough to ship and still has real induction and
previous-token heads.

## Training

{_steps(m)} of 4,096 tokens ({m["steps"] * 4096 / 1e6:.1f} million) in {m["minutes"]:.0f} minutes on shared
CPU cores; Muon for matrices, AdamW for the rest, bfloat16 autocast, seed 0. Windows of 256 tokens, at
the end of each of the two stages of 1,024. Text:

{TEXT_SOURCES}

**Some windows repeat themselves**, so induction heads are helped on purpose. A block of uniformly
random tokens comes again and again (its first occurrence is not learned), or a span of the text occurs
a second time. Up to step 3,600 each kind is 6¼ % of the windows; that gave previous-token heads, but
prefix matching of only 0.24. So a second stage follows, with a learning rate warmed up again, in which
25 % of the windows are random repeats and 12½ % repeated spans. How the heads form over training is in
`../demo-decoder-history`.

{_again(m, "decoder", "--data TEXT_FOLDER --scratch WORK_FOLDER")}

## Measured

Loss in nats per token on held-out text, against the best model that knows only how frequent each
token is:

| held-out text | loss | unigram baseline |
|---|---|---|
| novels | {m["novels_loss"]:.2f} | {m["novels_unigram_loss"]:.2f} |
| stories | {m["stories_loss"]:.2f} | {m["stories_unigram_loss"]:.2f} |

In windows of 1,024 tokens of the held-out novels the loss is
{m["novels_loss_positions_1_255"]:.2f} over positions 1–255 and
{m["novels_loss_positions_768_1023"]:.2f} over positions 768–1,023.

25 random tokens, repeated: loss {m["random_first_time_loss"]:.2f} the first time,
**{m["random_second_time_loss"]:.2f}** the second (a uniform guess costs 8.72).

Strongest heads, zero-based, on random tokens repeated four times (mean weight, 10 sequences):

| kind | heads |
|---|---|
{heads}

## What it can and cannot do

It writes grammatical fragments in the manner of old novels and children's stories and copies what
has been repeated. It knows nothing about the world, answers no questions and must not be used for
its output. Texts longer than 1,024 tokens are outside what it was trained on. It was trained on text
without line breaks; its tokenizer turns every run of white space into one space. The novels carry
the prejudices of their time.
"""


def _encoder(m: dict[str, Any]) -> str:
    return f"""\
# demo-encoder

A small masked language model of the BERT architecture: 6 layers × 6 heads, hidden size 192, 512
positions, tied embeddings, {m["parameters"]:,} parameters. Its tokenizer is a lower-casing WordPiece
of 8,192 pieces that keeps everyday words whole.

## Training

{_steps(m)} of 4,096 positions ({m["steps"] * 4096 / 1e6:.1f} million) in
{m["minutes"]:.0f} minutes on shared CPU cores; Muon for matrices, AdamW for the rest, bfloat16
autocast, no dropout, seed 0. A fifth of the pieces are hidden afresh in every window (80 % `[MASK]`,
10 % a random piece, 10 % unchanged). Window lengths take turns: 32 positions (35 % of the steps, cut
after a sentence and padded), 128 (45 %) and 512 (20 %). There is no next-sentence task, so the second
token type is untrained. Text:

{TEXT_SOURCES}

{_again(m, "encoder", "--data TEXT_FOLDER --scratch WORK_FOLDER")}

## Measured

Hidden pieces of held-out text in windows of 128, loss in nats, against the best model that knows
only how frequent each piece is:

| held-out text | loss | unigram baseline | right first guess | always the most frequent piece |
|---|---|---|---|---|
| novels | {m["novels_loss"]:.2f} | {m["novels_unigram_loss"]:.2f} | \
{m["novels_accuracy"]:.1%} | {m["novels_most_frequent_accuracy"]:.1%} |
| stories | {m["stories_loss"]:.2f} | {m["stories_unigram_loss"]:.2f} | \
{m["stories_accuracy"]:.1%} | {m["stories_most_frequent_accuracy"]:.1%} |

Of its 36 heads these earn a name on {m["passages"]} held-out passages (`analyzer.patterns`: the mean strength
over passages, tested against chance and against the same pattern at wrong positions):

| pattern | heads |
|---|---|
{_named(m["named_heads"])}

In one text of 512 pieces the best head puts {m["previous_token_early"]:.2f} of its weight on the piece before, over
the first 100 positions, and {m["previous_token_late"]:.2f} from position 200 on.

## What it can and cannot do

It fills in function words, punctuation, pronouns and common everyday words from their surroundings. It
has little knowledge of the world and is no sentence-embedding model. Most of its heads spread their
weight, and its positional heads are clear only early in a text. More than 512 pieces are refused. The
novels carry the prejudices of their time.
"""


def _translator(m: dict[str, Any]) -> str:
    layers = "\n".join(
        f"| {layer} | {' | '.join(f'{score:.1%}' for score in scores)} | {mean:.1%} |"
        for layer, (scores, mean) in enumerate(
            zip(m["pointing_by_head"], m["pointing_of_mean_head_by_layer"], strict=True)
        )
    )
    return f"""\
# demo-translator

A small encoder–decoder of the T5 architecture that turns written-out dates into digits: 3 encoder
and 3 decoder layers × 4 heads, width 128, {m["parameters"]:,} parameters, one piece per word and
digit.

    She was born on the twenty-third of March, nineteen eighty-four.  ->  1984-03-23

Every digit has a known source: 1 and 9 come from *nineteen*, 8 from *eighty*, both month digits from
*March*. So its cross-attention can be scored against truth (`demo_models/dates.py` says which piece
each digit comes from).

## Training

{_steps(m)} of 128 sentences in {m["minutes"]:.0f} minutes on shared CPU cores; Muon for
matrices, AdamW for the rest, bfloat16 autocast, seed 0. All sentences are generated: dates from 1500
to 2099 in four wordings, several ways to say a year, an optional weekday, inside sixteen kinds of
sentence whose words are sometimes unknown to the model. A fifth of the years can be read either way
("nineteen eighteen"), so that the order of their words is learned. One date in ten is held out in every
wording.

{_again(m, "translator", "--scratch WORK_FOLDER")}

## Measured

On 1,000 sentences with held-out dates, **{m["exact"]:.1%}** are exactly right.

Cross-attention while the right answer is written: share of the digits whose largest weight lies on a
true source piece. A random position would score {m["chance"]:.1%}; the best layer's mean of heads, held
against the true positions of another sentence, scores {m["of_other_sentence"]:.1%}.

| decoder layer | head 0 | head 1 | head 2 | head 3 | mean of heads |
|---|---|---|---|---|---|
{layers}

## What it can and cannot do

It reads one English date per sentence in the wordings it was trained on ("the third of May, nineteen
oh five"; "May the third, nineteen hundred and five"; "May third, …"; "nineteen oh five, May third").
Numerals, other languages, years outside 1500–2099 and abbreviations are beyond it. Words it does not
know become `<unk>`.
"""


def _captioner(m: dict[str, Any]) -> str:
    return f"""\
# demo-captioner

A small vision encoder–decoder (ViT and GPT-2 with cross-attention) that says which colored shapes an image shows:
2 encoder and 2 decoder layers × 4 heads, width 96, {m["parameters"]:,} parameters. It reads images of any size,
scaled to 80 × 80 pixels in cells of 8 × 8.

    one to three shapes  ->  a red circle, a blue square and a green star

Shapes are named from left to right, so each word has a known region: *blue* and *square* can only come from the pixels
of the second shape. Where the model looks while it writes a word can be scored against those pixels
(`demo_models/shapes.py` draws the images and says which pixels each word comes from).

## Training

{_steps(m)} of 32 images in {m["minutes"]:.0f} minutes on shared CPU cores; Muon for matrices, AdamW for the rest,
bfloat16 autocast, seed 0. All images are generated: circles, squares, triangles and stars in six colors, of different
sizes and turns, on a noisy light ground. One combination of shapes in ten is held out.

{_again(m, "captioner", "--scratch WORK_FOLDER")}

## Measured

Of {m["images"]} images with held-out combinations, **{m["exact"]:.1%}** are captioned exactly right.

Share of colors and shapes ({m["words"]:,} words) for which the middle of the cell with the largest value, and of the
window of 3 × 3 cells with the largest mean, lies inside the named shape. Attention often reads a shape from the cells
around it. Against the shapes of another image, windows of `rollout` score {m["of_other_image"]:.1%}.

| method | cell | window |
|---|---|---|
{_methods(m["inside"])}

Comprehensiveness (higher is better), sufficiency and area of the deletion curve (lower is better) on {m["tested"]} of
the images, one word each, with cells covered by the image's mean color, a blurred copy or its pixels in random order:

| method | mean | blur | noise |
|---|---|---|---|
{_by_covering(m["faithfulness"])}

## What it can and cannot do

It names up to three plain shapes on a light ground. Photographs, other shapes and colors, overlapping shapes and dark
grounds are beyond it.
"""


def _listener(m: dict[str, Any]) -> str:
    return f"""\
# demo-listener

A small model of the Whisper architecture that writes down the digits dialed on a telephone keypad: 2 encoder and 2
decoder layers × 4 heads, width 96, {m["parameters"]:,} parameters. It reads up to four seconds at 16 kHz; a token of
its encoder is 20 ms.

Each key sounds as two tones at once. When each digit begins and ends is known (`demo_models/tones.py`), so where the
model listens while it writes a digit can be scored against truth.

## Training

{_steps(m)} of 24 sounds in {m["minutes"]:.0f} minutes on shared CPU cores; Muon for matrices, AdamW for the rest,
bfloat16 autocast, seed 0. All sounds are generated: one to eight digits of different lengths, loudness and noise. One
number in ten is held out.

{_again(m, "listener", "--scratch WORK_FOLDER")}

## Measured

Of {m["sounds"]} sounds with held-out numbers, **{m["exact"]:.1%}** are written exactly right.

Of their {m["words"]:,} digits, `record.align()` gives **{m["within_one_frame"]:.1%}** a beginning and an end that are
both at most one frame (20 ms) off; the median error is {m["median_error_ms"]:.0f} ms.

## What it can and cannot do

It reads keypad tones of at least a tenth of a second with a short silence between them. Speech and other tones are
beyond it.
"""


def _methods(inside: dict[str, dict[str, float]]) -> str:
    ordered = sorted(inside.items(), key=lambda item: -item[1]["window"])
    return "\n".join(f"| {name} | {share['cell']:.1%} | {share['window']:.1%} |" for name, share in ordered)


def _by_covering(faithfulness: dict[str, dict[str, list[float]]]) -> str:
    def cell(kind: str, method: str) -> str:
        return " / ".join(f"{each:.2f}" for each in faithfulness[kind][method])

    methods = sorted(faithfulness["mean"], key=lambda name: -faithfulness["mean"][name][0])
    return "\n".join(f"| {name} | {' | '.join(cell(kind, name) for kind in faithfulness)} |" for name in methods)


def _reader(m: dict[str, Any]) -> str:
    parts = list(next(iter(m["right_by_kind"].values())))
    rows = "\n".join(
        f"| {kind} | {' | '.join(f'{right[number]:.1%}' for number in parts)} |"
        for kind, right in m["right_by_kind"].items()
    )
    return f"""\
# demo-reader

A small causal language model of the Llama architecture that answers questions from documents and turns: 4 layers × 4
heads, hidden size 128, {m["parameters"]:,} parameters, one piece per lower-cased word. Its chat template has the roles
system, user, tool and assistant, thoughts (`reasoning_content`) and documents.

    The home of Ada is harbor. The pet of Ada is fox.   What is the home of Ada?  ->  harbor

Every prompt has facts of its own, so an answer can only be read and never be known: the part that each answer comes
from is known (`demo_models/facts.py`).

## Training

{_steps(m)} of 28 to 48 prompts in {m["minutes"]:.0f} minutes on shared CPU cores; Muon for matrices, AdamW for the
rest, bfloat16 autocast, seed 0. A prompt has up to four parts (documents, and at times turns of the user, tool results
or thoughts) with up to two facts each, and up to eight questions; the loss is taken on the answers alone. A quarter of
the questions have no answer in the prompt (`unknown`). Some facts are contradicted by another part; then either value
is right, and the training target is one of the two at random. One triple of name, relation and value in ten is held
out.

{_again(m, "reader", "--scratch WORK_FOLDER")}

## Measured

On {m["prompts"]} prompts with held-out facts and one question, **{m["right"]:.1%}** of the answers are right. By kind
of question and largest number of parts:

| question | {" | ".join(f"{number} parts" for number in parts)} |
|---|{"---|" * len(parts)}
{rows}

## What it can and cannot do

It looks a value up by a name and one of six relations (home, trade, color, pet, instrument, drink), said as "The home
of Ada is harbor." and asked as "What is the home of Ada?". Other wordings, longer prompts than those of the training
and general knowledge are beyond it. Words it does not know become `<unk>`.
"""


_BODIES = {
    "demo-captioner": _captioner,
    "demo-listener": _listener,
    "demo-decoder": _decoder,
    "demo-encoder": _encoder,
    "demo-reader": _reader,
    "demo-translator": _translator,
}


def _steps(m: dict[str, Any]) -> str:
    if m["steps"] == m["planned_steps"]:
        return f"{m['steps']:,} steps"
    return f"{m['steps']:,} steps (of {m['planned_steps']:,} planned; the learning rate came down by the clock)"


def _again(m: dict[str, Any], script: str, arguments: str) -> str:
    line = f"Made again by `python -m demo_models.{script} {arguments}`"
    if m["minutes_allowed"] is None:
        return f"{line}."
    return (
        f"{line}.\nThis one was made with `--minutes {m['minutes_allowed']:g}` added. What that makes of the learning "
        "rate depends on\nthe machine; only a run without that limit takes the same steps every time."
        # What a person who made a model has to add; publishing anew removes it.
        + (f"\n{m['note']}" if "note" in m else "")
    )


def _heads(strongest: list[dict[str, float]]) -> str:
    return ", ".join(f"L{h['layer']}H{h['head']} {h['strength']:.2f}" for h in strongest)


def _named(patterns: dict[str, list[dict[str, float]]]) -> str:
    rows = []
    for name, heads in sorted(patterns.items(), key=lambda item: -len(item[1])):
        more = f" and {len(heads) - NAMED} more" if len(heads) > NAMED else ""
        rows.append(f"| {name.replace('_', ' ')} | {_heads(heads[:NAMED])}{more} |")
    return "\n".join(rows) or "| none | |"


def _loss_curve(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        points = list(csv.reader(file))[1:]
    chosen = points[len(points) // CURVE_ROWS - 1 :: len(points) // CURVE_ROWS]
    rows = "\n".join(f"| {int(step):,} | {float(loss):.3f} |" for step, loss in chosen)
    head = "## Loss curve\n\nMean training loss; all points are in `loss.csv`.\n\n| step | loss |\n|---|---|"
    return f"{head}\n{rows}\n"
