"""Sources against the slow way: forwards without the removed tokens, masks written by hand, planted answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import FileFormatError, InputError, TooLongError, UnsupportedModelError
from attention_analyzer.parts import Part
from attention_analyzer.sources import METHODS
from attention_analyzer.sources.evidence import PartWeights, attention_to_parts
from attention_analyzer.sources.head_weights import HeadWeights, saved_weights
from attention_analyzer.sources.judge import judge
from attention_analyzer.sources.log import sources_of_log
from attention_analyzer.sources.prompt import Prompt, read_prompt
from attention_analyzer.sources.scorer import Scorer
from attention_analyzer.sources.surrogate import fit_surrogate
from demo_models import facts
from demo_models.tokenization import reader_tokenizer

PROMPT = "The door was red. The boy named Tom went home. He saw the old house. Then the boy named"
CHAT = {
    "messages": [{"role": "user", "content": "What is the home of Ada?"}],
    "documents": ["The home of Ada is harbor.", "The pet of Ben is fox.", "The drink of Ada is tea."],
}


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> AttentionAnalyzer:
    """A tiny model with random weights and a template with documents."""
    tokenizer = reader_tokenizer(facts.vocabulary())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    return AttentionAnalyzer(LlamaForCausalLM(config), tokenizer, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def prompt(decoder: AttentionAnalyzer) -> Prompt:
    return read_prompt(decoder.loaded, PROMPT, answer=" Tom")


def slow(analyzer: AttentionAnalyzer, prompt: Prompt, ids: list[int], mask: torch.Tensor | None = None) -> float:
    """The answer's log-probability after the prompt ``ids``, by one plain forward."""
    whole = torch.tensor([[*ids, *prompt.answer_ids]])
    extra = {} if mask is None else {"attention_mask": mask, "position_ids": torch.arange(whole.shape[1])[None]}
    with torch.no_grad():
        logits = analyzer.model(whole, **extra).logits[0].log_softmax(-1)
    return sum(float(logits[len(ids) + at - 1, number]) for at, number in enumerate(prompt.answer_ids))


@pytest.mark.parametrize("use_cache", [True, False])
def test_removals_equal_plain_forwards_without_the_tokens(
    decoder: AttentionAnalyzer, prompt: Prompt, use_cache: bool
) -> None:
    scorer = Scorer(decoder.loaded, prompt, use_cache=use_cache)
    assert scorer.has_cache == use_cache
    ids = list(prompt.tokens.ids)
    assert scorer.whole == pytest.approx(slow(decoder, prompt, ids), abs=1e-4)
    for gone in ([0], [1], [2], [0, 2], [0, 1, 2]):
        dropped = {token for number in gone for token in prompt.run_of(number)}
        kept = [number for at, number in enumerate(ids) if at not in dropped]
        assert scorer.removed(gone) == pytest.approx(slow(decoder, prompt, kept), abs=1e-3)


def test_a_knock_out_equals_a_mask_written_by_hand(decoder: AttentionAnalyzer, prompt: Prompt) -> None:
    scorer = Scorer(decoder.loaded, prompt)
    size = len(prompt.tokens) + len(prompt.answer_ids)
    for number in range(len(prompt.candidates)):
        run = prompt.run_of(number)
        seen = torch.ones(size, size).tril()
        seen[run.stop :, run.start : run.stop] = 0
        mask = torch.zeros(1, 1, size, size).masked_fill(seen == 0, torch.finfo(torch.float32).min)
        expected = slow(decoder, prompt, list(prompt.tokens.ids), mask)
        assert scorer.knocked_out(number) == pytest.approx(expected, abs=1e-3)


def test_attention_equals_full_matrices(decoder: AttentionAnalyzer, prompt: Prompt) -> None:
    found = attention_to_parts(decoder.loaded, prompt)
    assert found.log_probability == pytest.approx(slow(decoder, prompt, list(prompt.tokens.ids)), abs=1e-4)
    ids = torch.tensor([[*prompt.tokens.ids, *prompt.answer_ids]])[:, :-1]
    record = decoder.record(inputs={"input_ids": ids})
    size = ids.shape[1]
    sink = np.zeros(size, bool)
    sink[: len(prompt.tokens)] = prompt.tokens.is_special
    sink[0] = True
    rows = range(size - len(prompt.answer_ids), size)
    for (layer, head, name), values in zip(found.heads, found.above_chance, strict=True):
        if name != "answer":
            continue
        full = record.weights(layer, head).double().numpy()
        for number in range(len(prompt.candidates)):
            keys = [key for key in prompt.run_of(number) if not sink[key]]
            expected = np.mean(
                [full[i, keys].sum() / full[i, ~sink].sum() - len(keys) / (~sink[: i + 1]).sum() for i in rows]
            )
            assert values[number] == pytest.approx(expected, abs=1e-5)


def test_what_needs_attention_alone_runs_one_whole_forward(decoder: AttentionAnalyzer) -> None:
    sizes: list[int] = []
    seen = decoder.model.register_forward_pre_hook(
        lambda _, args, options: sizes.append(options["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        lean = decoder.sources(PROMPT, answer=" Tom", methods=["attention"], removals=0)
    finally:
        seen.remove()
    whole = len(decoder.tokenizer(PROMPT).input_ids)
    assert [size for size in sizes if size > whole // 2] == [max(sizes)]
    full = decoder.sources(PROMPT, answer=" Tom", methods=["attention", "removal"], removals=0)
    assert lean.log_probability == pytest.approx(full.log_probability, abs=1e-4)
    assert lean.without_any == pytest.approx(full.without_any, abs=1e-3)
    assert lean.table.set_index("part")["attention"].to_dict() == pytest.approx(
        full.table.set_index("part")["attention"].to_dict()
    )


def test_the_answer_comes_from_the_sentence_that_names_it(decoder: AttentionAnalyzer) -> None:
    found = decoder.sources(PROMPT, answer=" Tom")
    assert found.best == "sentence 2" and not found.none
    assert found.names[0] == "sentence 2"
    assert found.recommended in METHODS
    assert set(found.methods["method"]) == {"attention", "knock_out", "removal", "surrogate"}
    assert found.table["part"].tolist().count("sentence 2") == 1
    assert len(found.table) == 3 and found.table["score"].is_monotonic_decreasing
    assert found.to_frame() is found.table


def test_it_is_the_same_every_time(decoder: AttentionAnalyzer) -> None:
    one, two = (decoder.sources(PROMPT, answer=" Tom", removals=16) for _ in range(2))
    assert one.table.equals(two.table) and one.methods.equals(two.methods)


def test_an_answer_that_nothing_moves_has_no_source(decoder: AttentionAnalyzer) -> None:
    prompt = "The door was red. He saw it. The boy named Tom went home. Then the boy named"
    found = decoder.sources(prompt, answer=" Tom", parts=[Part("door", 0, 17), Part("sight", 18, 28)])
    assert found.none and found.best == "" and found.names == ()
    assert "none of the 2 parts" in repr(found)


def test_documents_of_a_chat_are_candidates(reader: AttentionAnalyzer) -> None:
    found = reader.sources(**CHAT, removals=8, max_new_tokens=2)
    assert set(found.table["part"]) == {"document 1", "document 2", "document 3"}
    assert not found.is_given
    answered = [*CHAT["messages"], {"role": "assistant", "content": "harbor"}]
    given = reader.sources(messages=answered, documents=CHAT["documents"], removals=8)
    assert given.is_given and given.answer == "harbor"
    assert reader.sources(answered, documents=CHAT["documents"], removals=8).table.equals(given.table)


def test_documents_that_stand_in_a_prompt(decoder: AttentionAnalyzer) -> None:
    documents = ["The door was red.", {"text": "He saw the old house."}]
    found = decoder.sources(PROMPT, documents=documents, answer=" Tom", removals=0, methods=["removal"])
    assert set(found.table["part"]) == {"document 1", "document 2"}


def test_learned_heads_are_kept_in_the_cache(reader: AttentionAnalyzer) -> None:
    with pytest.raises(InputError, match="learn_sources"):
        reader.sources(**CHAT, methods=["learned_heads"], removals=0)
    weights = reader.learn_sources([CHAT] * 8, max_new_tokens=2)
    assert min(weights.weights) >= 0 and weights.fingerprint == reader.fingerprint
    assert saved_weights(reader.cache.folder, reader.fingerprint) == weights
    found = reader.sources(**CHAT, methods="learned_heads", removals=0, max_new_tokens=2)
    assert list(found.methods["method"]) == ["learned_heads"]
    assert (found.table["low"] <= found.table["score"]).all() and (found.table["score"] <= found.table["high"]).all()
    path = next((reader.cache.folder / "source-heads").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError):
        reader.sources(**CHAT, removals=0)
    path.unlink()


def test_learned_weights_find_a_planted_head() -> None:
    generator = np.random.default_rng(0)
    heads = [(0, head, "answer") for head in range(4)]
    attention = generator.normal(size=(4, 200))
    drops = 3 * attention[2] + 0.1 * generator.normal(size=200)
    from sklearn.linear_model import Ridge

    weights = Ridge(alpha=1, positive=True, fit_intercept=False).fit(attention.T, drops).coef_
    made = HeadWeights(tuple(heads), tuple(weights), "x", 8, 1.0)
    assert np.corrcoef(made.scores(PartWeights(heads, attention, -1.0)), drops)[0, 1] > 0.99
    with pytest.raises(InputError, match="other heads"):
        made.scores(PartWeights(heads[:2], attention[:2], -1.0))


def test_the_surrogate_finds_planted_parts() -> None:
    generator = np.random.default_rng(1)
    kept = generator.random((64, 10)) < 0.5
    values = -5 + 4.0 * kept[:, 3] + 1.5 * kept[:, 7] + 0.05 * generator.normal(size=64)
    fitted = fit_surrogate(kept, values)
    assert list(np.argsort(-fitted.scores)[:2]) == [3, 7]
    assert fitted.low[3] > 2 and (fitted.low <= fitted.high).all()
    assert np.abs(np.delete(fitted.scores, [3, 7])).max() < 0.3
    assert not fit_surrogate(kept, np.full(64, -2.0)).scores.any()


def test_judgment_tells_good_scores_from_bad_ones() -> None:
    generator = np.random.default_rng(2)
    kept = generator.random((32, 8)) < 0.5
    truth = np.array([4.0, 0, 0, 0, 2, 0, 0, 0])
    values = kept @ truth
    good, bad = judge(truth, kept, values, 4.0, 0.3), judge(truth[::-1].copy(), kept, values, 0.0, 0.9)
    assert good.holds and good.lds == pytest.approx(1)
    assert not bad.holds and bad.lds < good.random_lds + 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either a prompt or messages"),
        ({"prompt": PROMPT, "messages": CHAT["messages"]}, "not both"),
        ({"prompt": 3}, "at least one message, not 3"),
        ({"messages": []}, r"at least one message, not \[\]"),
        ({"prompt": PROMPT, "answer": "  "}, "at least one visible character"),
        ({"prompt": PROMPT, "methods": ["magic"]}, "no method 'magic'; the methods are attention"),
        ({"prompt": PROMPT, "methods": []}, "at least one method"),
        ({"prompt": PROMPT, "removals": 3}, "0 or at least 8"),
        ({"prompt": PROMPT, "removals": 0, "methods": ["surrogate"]}, "fitted on random removals"),
        ({"prompt": PROMPT, "documents": ["The moon."]}, "Document 1 does not stand in the prompt"),
        ({"prompt": PROMPT, "documents": []}, "at least one is needed"),
        ({"prompt": PROMPT, "documents": ["The door was red."], "parts": "word"}, "not both"),
        ({"messages": CHAT["messages"]}, "no chat template"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(decoder: AttentionAnalyzer, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decoder.sources(**arguments)


def test_chats_that_cannot_be_used(reader: AttentionAnalyzer) -> None:
    with pytest.raises(InputError, match="Nothing stands before the question"):
        reader.sources(messages=CHAT["messages"])
    with pytest.raises(InputError, match="an answer already"):
        reader.sources(messages=[*CHAT["messages"], {"role": "assistant", "content": "x"}], answer="y")
    with pytest.raises(InputError, match="no text to explain"):
        reader.sources(messages=[*CHAT["messages"], {"role": "assistant", "content": " "}])
    image = [{"role": "user", "content": [{"type": "image", "url": "x.png"}]}]
    with pytest.raises(InputError, match="a part of the type 'image'"):
        reader.sources(messages=image)
    with pytest.raises(TooLongError, match="'document 2' and what follows it do not fit"):
        reader.sources(messages=CHAT["messages"], documents=["The pet of Ben is fox." * 7] * 3)


def test_models_that_do_not_continue_texts_are_refused() -> None:
    for name in ("demo-encoder", "demo-translator"):
        with pytest.raises(UnsupportedModelError, match="does not continue a text"):
            AttentionAnalyzer(name, cache=False).sources("A text. Another.", answer="x")


def test_an_answer_of_another_model_is_noted(decoder: AttentionAnalyzer) -> None:
    found = decoder.sources(PROMPT, answer=" xylophone zebra", removals=0, methods=["removal"])
    assert "hardly writes this answer" in found.notes[0]


def test_a_log_resumes_and_names_lines_that_cannot_be_used(reader: AttentionAnalyzer, tmp_path: Path) -> None:
    lines = [json.dumps(CHAT), "{broken", json.dumps({"documents": []}), json.dumps(CHAT["messages"])]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    store = tmp_path / "store"
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources_of_log(reader.loaded, log, store, removals=8, max_new_tokens=2, progress=stop)
    written = {path: path.stat().st_mtime_ns for path in store.iterdir()}
    assert len(written) == 2
    table = sources_of_log(reader.loaded, log, store, removals=8, max_new_tokens=2)
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    assert len(list(store.iterdir())) == 4
    assert set(table["line"]) == {1, 2, 3, 4}
    problems = table[table["problem"] != ""].set_index("line")["problem"]
    assert "is no JSON" in problems[2] and "holds no chat" in problems[3] and "Nothing stands" in problems[4]
    assert len(table[table["line"] == 1]) == 3
    again = sources_of_log(reader.loaded, log, store, removals=8, max_new_tokens=2)
    assert again.equals(table)


def test_a_generated_record_has_the_parts_of_its_chat(reader: AttentionAnalyzer) -> None:
    chat = reader.chat(**CHAT, add_generation_prompt=True)
    record = reader.generate(chat, max_new_tokens=3)
    assert not isinstance(record, list)
    given, made = reader.record(chat).parts(), record.parts()
    assert made.names == given.names and made.borders[:-1] == given.borders[:-1]
    assert made.borders[-1] == len(record.tokens) == given.borders[-1] + 3
    assert made.texts[:-1] == given.texts[:-1] and len(made.texts[-1]) > len(given.texts[-1])
    assert made.texts[-1].startswith(given.texts[-1])


def test_parts_that_a_cut_takes_away_are_named(reader: AttentionAnalyzer) -> None:
    chat = reader.chat(CHAT["messages"], documents=CHAT["documents"] * 6, add_generation_prompt=True)
    with pytest.warns(UserWarning, match="the model does not see 'user 1', 'assistant 2', 'document"):
        record = reader.record(chat, truncate=True)
    assert len(record.tokens) == 128
    names = record.parts().names
    assert "document 1" in names and "user 1" not in names and "document 18" not in names


def test_of_methods_that_predict_alike_the_most_direct_one_is_recommended(decoder: AttentionAnalyzer) -> None:
    parts = [Part("clue", 18, 50), Part("rest", 50, 75)]
    found = decoder.sources(PROMPT, answer=" Tom", parts=parts, removals=16, methods=["knock_out", "removal"])
    assert found.methods["lds"].nunique() == 1 and found.recommended == "removal"
