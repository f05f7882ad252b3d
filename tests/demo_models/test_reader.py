"""The reader's task, and what the bundled model makes of it."""

from __future__ import annotations

import json
import random
import re

import pytest

from attention_analyzer import AttentionAnalyzer
from demo_models import facts
from demo_models.publishing import BUNDLED
from demo_models.reader import STAGES, batch_at, is_answer
from demo_models.reader_evaluation import held_out
from demo_models.reader_sources import source_name
from demo_models.tokenization import reader_tokenizer

TOKENIZER = reader_tokenizer(facts.vocabulary())


@pytest.mark.parametrize("kind", facts.KINDS)
def test_the_parts_that_are_named_say_the_answers(kind: str) -> None:
    for one in held_out(40, 3, 4, kind):
        assert len(one.sources) == {"answerable": 1, "unanswerable": 0, "contradicting": 2}[kind]
        if kind == "unanswerable":
            assert one.answers == (facts.UNKNOWN,)
            continue
        for answer, source in zip(one.answers, one.sources, strict=True):
            where, number = source.split()
            holder = one.documents[int(number) - 1] if where == "document" else one.messages[int(number) - 1]
            assert f" is {answer}." in " ".join(holder.values())


def test_held_out_triples_are_never_trained_on() -> None:
    def said(one: facts.Example) -> set[tuple[str, ...]]:
        texts = [*(d["text"] for d in one.documents), *(" ".join(m.values()) for m in one.messages)]
        found = {triple for text in texts for triple in re.findall(r"The (\w+) of (\w+) is (\w+)\.", text)}
        return {triple for triple in found if triple[1] in facts.NAMES}

    generator = random.Random(0)
    trained = set().union(*(said(facts.example(generator, facts.Shape())) for _ in range(400)))
    tested = set().union(*(said(one) for one in held_out(100, 1, 4)))
    assert tested and trained and not tested & trained


def test_batches_hold_answers_and_no_unknown_words() -> None:
    for step, _, length, count in STAGES:
        batch = batch_at(step, TOKENIZER)
        assert batch["input_ids"].shape == (count, length)
        assert TOKENIZER.unk_token_id not in batch["input_ids"]
        assert (batch["labels"] >= 0).any(1).all()


def test_answers_are_what_follows_the_assistants_mark() -> None:
    text = TOKENIZER.apply_chat_template([{"role": "assistant", "content": "harbor"}], tokenize=False)
    ids = TOKENIZER(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    assert TOKENIZER.decode(ids[is_answer(ids, TOKENIZER)]) == "harbor <|end|>"


def test_its_card_tells_how_often_it_is_right() -> None:
    measured = json.loads((BUNDLED / "demo-reader" / "measured.json").read_text(encoding="utf-8"))
    assert measured["prompts"] == 500 and measured["right"] >= 0.95
    assert all(share >= 0.95 for shares in measured["right_by_kind"].values() for share in shares.values())


def test_the_source_of_its_answers_is_found() -> None:
    analyzer = AttentionAnalyzer("demo-reader", cache=False)
    hits = []
    asked = held_out(12, 5, 3, "answerable")
    for one in asked:
        found = analyzer.sources(
            messages=list(one.messages),
            documents=list(one.documents),
            removals=0,
            methods=["removal"],
            max_new_tokens=2,
        )
        if found.answer.strip() in one.answers:
            hits.append(found.best == source_name(one, found.answer.strip()))
    assert len(hits) >= 0.9 * len(asked) and sum(hits) >= 0.95 * len(hits)
