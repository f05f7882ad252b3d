"""``capture``: whatever runs in a block, against the matrices that a copy of the model hands over."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, MistralConfig, MistralForCausalLM, pipeline

import attention_analyzer
from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import InputError, SelectionError, TooLongError
from attention_analyzer.metrics import METRICS
from tests.capture.small import VOCABULARY, model_of


def eager(model: nn.Module, **inputs):
    twin = deepcopy(model)
    twin.set_attn_implementation("eager")
    with torch.no_grad():
        return twin(**inputs, output_attentions=True)


def close(
    record: AttentionRecord, matrices, row: int, kept: slice, *, stack: str | None = None, kind: str = "self"
) -> None:
    for layer, whole in enumerate(matrices):
        expected = whole[row][:, kept, kept] if kind == "self" else whole[row][:, kept]
        found = record.weights(layer, stack=stack, kind=kind)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def batch(*lengths: int, left: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = max(lengths)
    ids, mask = torch.zeros(len(lengths), size, dtype=torch.long), torch.zeros(len(lengths), size, dtype=torch.long)
    for row, length in enumerate(lengths):
        place = slice(size - length, size) if left else slice(0, length)
        ids[row, place] = torch.randint(3, VOCABULARY, (length,), generator=generator)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "positions"])
def test_a_padded_batch_is_one_record_per_row(kind: str, left: bool) -> None:
    model, inputs = model_of(kind), batch(7, 4, 5, left=left)
    with torch.no_grad():
        plain = model(**inputs)[0]
        with attention_analyzer.capture(model) as captured:
            inside = model(**inputs)[0]
    assert torch.equal(plain, inside)
    reference = eager(model, **inputs).attentions
    assert len(captured) == 3
    for row, (record, length) in enumerate(zip(captured, (7, 4, 5), strict=True)):
        assert len(record.tokens) == length
        assert list(record.tokens.ids) == inputs["input_ids"][row][inputs["attention_mask"][row].bool()].tolist()
        kept = slice(7 - length, 7) if left else slice(0, length)
        close(record, reference, row, kept)
        assert record.notes["row"] == row


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2},
                                     {"num_beams": 4, "num_return_sequences": 2}])  # fmt: skip
def test_a_generation_is_one_record_per_sequence(options: dict) -> None:
    model, inputs = model_of("decoder"), batch(6, 3, left=True)
    settings = {"max_new_tokens": 9, "min_new_tokens": 9, "pad_token_id": 0, **options}
    torch.manual_seed(7)
    plain = model.generate(**inputs, **settings)
    torch.manual_seed(7)
    with attention_analyzer.capture(model) as captured:
        inside = model.generate(**inputs, **settings)
    assert torch.equal(plain, inside)
    rows = 2 * max(options.get("num_beams", 1), options.get("num_return_sequences", 1))
    assert len(captured) == rows
    for record in captured:
        assert record.notes["steps"] == 9
        ids = torch.tensor([record.tokens.ids])
        close(record, eager(model, input_ids=ids).attentions, 0, slice(None))
    if not options:
        for row, (record, prompt) in enumerate(zip(captured, (6, 3), strict=True)):
            assert list(record.tokens.ids) == inside[row, 6 - prompt : -1].tolist()  # the last token is never read


STATIC = {"cache_implementation": "static", "disable_compile": True}  # writes into the same memory at each step
GUESSED = {"prompt_lookup_num_tokens": 2}  # takes steps back


def _windowed(window: int | None) -> MistralForCausalLM:
    small = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = MistralConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, intermediate_size=20,
        max_position_embeddings=64, initializer_range=0.4, sliding_window=window, **small,
    )  # fmt: skip
    torch.manual_seed(2)
    return MistralForCausalLM(config).eval()


@pytest.mark.parametrize("texts", [1, 2])
@pytest.mark.parametrize(
    ("window", "options"),
    [(None, STATIC), (None, {"num_beams": 3}), (None, GUESSED), (4, STATIC), (4, {"num_beams": 3})],
)
def test_caches_of_every_kind(window: int | None, options: dict, texts: int) -> None:
    if options is GUESSED and texts > 1:
        return  # the library guesses for one text only
    model = _windowed(window)
    inputs = batch(6) if texts == 1 else batch(6, 3, left=True)
    with attention_analyzer.capture(model) as captured:
        model.generate(**inputs, max_new_tokens=8, min_new_tokens=8, pad_token_id=0, **options)
    assert len(captured) == len(inputs["input_ids"]) * options.get("num_beams", 1)
    for record in captured:
        assert len(record.tokens) > 10 or len(inputs["input_ids"]) == 2
        ids = torch.tensor([record.tokens.ids])
        close(record, eager(model, input_ids=ids).attentions, 0, slice(None))


@pytest.mark.parametrize("window", [None, 4])
def test_a_step_may_go_back_before_others(window: int | None) -> None:
    """A loop that keeps a copy of its cache: what was read after the copy is taken back, and the record says so."""
    model, ids = _windowed(window), torch.tensor([[5, 9, 3, 11, 4, 8, 17, 21]])
    with torch.no_grad(), attention_analyzer.capture(model) as captured:
        cache = DynamicCache(config=model.config)
        model(ids[:, :6], past_key_values=cache)
        before = deepcopy(cache)
        for guess in (7, 12):
            model(torch.tensor([[guess]]), past_key_values=cache)
        for at in (6, 7):
            model(ids[:, at : at + 1], past_key_values=before)
    assert len(captured) == 1
    assert captured[0].notes["taken_back"] == 2
    assert captured[0].tokens.ids == tuple(ids[0].tolist())
    close(captured[0], eager(model, input_ids=ids, use_cache=False).attentions, 0, slice(None))


def test_a_loop_with_a_cache_of_its_own() -> None:
    model, ids = model_of("positions"), torch.tensor([[5, 9, 3, 11, 4]])
    with torch.no_grad(), attention_analyzer.capture(model) as captured:
        step = model(ids[:, :3], use_cache=True)
        step = model(ids[:, 3:4], past_key_values=step.past_key_values, use_cache=True)
        model(ids[:, 4:], past_key_values=step.past_key_values, use_cache=True)
        model(ids[:, :2])  # another text
    assert [len(record.tokens) for record in captured] == [5, 2]
    assert captured[0].tokens.ids == (5, 9, 3, 11, 4)
    close(captured[0], eager(model, input_ids=ids).attentions, 0, slice(None))


@pytest.mark.parametrize("beams", [1, 2])
def test_a_translation_has_encoder_decoder_and_cross_attention(beams: int) -> None:
    model, inputs = model_of("translator"), batch(6, 4)
    with attention_analyzer.capture(model) as captured:
        model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, num_beams=beams)
    assert len(captured) == 2 * beams
    for number, record in enumerate(captured):
        row = number // beams
        length = int(inputs["attention_mask"][row].sum())
        assert len(record.tokens) == length
        source = {name: value[row : row + 1, :length] for name, value in inputs.items()}
        target = torch.tensor([record.target_tokens.ids])
        reference = eager(model, **source, decoder_input_ids=target)
        close(record, reference.encoder_attentions, 0, slice(None), stack="encoder")
        close(record, reference.decoder_attentions, 0, slice(None), stack="decoder")
        close(record, reference.cross_attentions, 0, slice(None), stack="decoder", kind="cross")


def test_a_training_step_with_checkpointing_keeps_its_gradients() -> None:
    gradients = []
    for inside in (False, True):
        model = model_of("decoder").train()
        model.activation_checkpointing_enable()
        inputs = batch(6, 6)
        captured = None
        if inside:
            with attention_analyzer.capture(model) as captured:
                model(**inputs, labels=inputs["input_ids"]).loss.backward()
        else:
            model(**inputs, labels=inputs["input_ids"]).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    assert captured is not None and len(captured) == 2  # the layers that ran again in the backward pass do not count
    assert model.training
    close(captured[0], eager(model.eval(), **inputs).attentions, 0, slice(None))


def test_packed_texts_are_told_apart() -> None:
    model = model_of("decoder")
    ids = torch.tensor([[5, 9, 3, 11, 4, 8, 7]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    with torch.no_grad(), attention_analyzer.capture(model) as captured:
        model(ids, position_ids=positions, use_cache=False)
    assert [record.tokens.ids for record in captured] == [(5, 9, 3), (11, 4, 8, 7)]
    close(captured[1], eager(model, input_ids=ids[:, 3:]).attentions, 0, slice(None))


def test_a_mask_with_a_row_per_query() -> None:
    model, ids = model_of("decoder"), torch.tensor([[5, 9, 3, 11, 4]])
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    mask[3:, 1] = False
    with torch.no_grad(), attention_analyzer.capture(model) as captured:
        model(ids, attention_mask=mask[None, None], use_cache=False)
    assert (captured[0].weights(0)[:, 3:, 1] == 0).all()
    assert (captured[0].weights(0)[:, 2, 1] > 0).all()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.num_heads, self.project = 3, nn.Linear(12, 36)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (3, 4)).transpose(1, 2) for part in self.project(x).chunk(3, -1))
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def test_a_block_of_ones_own_as_the_root() -> None:
    block, x = Block(), torch.randn(2, 5, 12)
    with torch.no_grad(), attention_analyzer.capture(block) as captured:
        block(x)
        block(x[:1])
    q, k, _ = (part.unflatten(-1, (3, 4)).transpose(1, 2) for part in block.project(x).chunk(3, -1))
    expected = (q @ k.transpose(-1, -2) / 2).softmax(-1).detach()
    assert len(captured) == 3
    for record, weights in zip(captured, (*expected, expected[0]), strict=True):
        torch.testing.assert_close(record.weights(0), weights, rtol=0, atol=1e-6)


def test_layers_and_heads_are_chosen() -> None:
    model, inputs = model_of("decoder"), batch(5)
    with torch.no_grad(), attention_analyzer.capture(model, layers=[-1]) as last:
        model(**inputs)
    assert [site.layer for site in last[0].sites] == [2]
    with torch.no_grad(), attention_analyzer.capture(model, heads=[(1, 4), (-1, -1)]) as some:
        model(**inputs)
    table = some.heads()
    assert list(zip(table["layer"], table["head"], strict=True)) == [(1, 4), (2, 5)]
    with torch.no_grad(), attention_analyzer.capture(model, layers=[]) as nothing:
        model(**inputs)
    assert len(nothing) == 0
    with torch.no_grad(), attention_analyzer.capture(model, heads=[(0, 6)]) as wrong:
        model(**inputs)
    with pytest.raises(SelectionError, match="no head 6"):
        wrong.heads()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": "all"}, "list of layers' numbers, such as .* but 'all'"),
        ({"layers": 1}, "but 1 was given"),
        ({"layers": [0.5]}, "but \\[0.5\\] was given"),
        ({"metrics": ["entropie"]}, "from .*entropy.* but 'entropie' was given"),
        ({"metrics": []}, "but none was given"),
        ({"max_bytes": "8GB"}, "max_bytes must be a number of bytes above 0, not '8GB'"),
        ({"max_bytes": 0}, "above 0, not 0"),
        ({"heads": [3]}, "pairs"),
        ({"heads": [(1,)]}, "pairs"),
        ({"keep": "all"}, "'queries_keys' or None, not 'all'"),
    ],
)
def test_arguments_that_cannot_be_used(settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said), attention_analyzer.capture(model_of("encoder"), **settings):
        pass


def test_no_model_is_no_default() -> None:
    with pytest.raises(InputError, match="None was given"), attention_analyzer.capture(None):
        pass


def test_a_layer_that_does_not_exist_is_no_empty_record() -> None:
    with attention_analyzer.capture(model_of("encoder"), layers=[0, 7]) as captured:
        captured.loaded.model(torch.tensor([[5, 6, 7]]))
    for ask in (captured.heads, lambda: captured.records):
        with pytest.raises(SelectionError, match=r"Layer 7 .* numbered from 0 to 1"):
            ask()


def test_metrics_are_chosen_by_name() -> None:
    with attention_analyzer.capture(model_of("encoder"), metrics=["entropy"]) as captured:
        captured.loaded.model(torch.tensor([[5, 6, 7]]))
    assert list(captured.heads().columns) == ["record", "stack", "kind", "layer", "head", "entropy"]


def test_numbers_only_are_those_of_the_records() -> None:
    model, inputs = model_of("decoder"), batch(6, 4, left=True)

    def run() -> None:
        model(**inputs)
        model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, pad_token_id=0)

    with torch.no_grad(), attention_analyzer.capture(model) as kept:
        run()
    with torch.no_grad(), attention_analyzer.capture(model, metrics=METRICS[:4]) as numbers:
        run()
    names = ["record", "stack", "layer", "head", *(metric.name for metric in METRICS[:4])]
    tables = kept.heads()[names], numbers.heads()[names]
    for column in names:
        ours, theirs = (table[column] for table in tables)
        assert (
            ours.tolist() == pytest.approx(theirs.tolist(), nan_ok=True)
            if column in names[4:]
            else list(ours) == list(theirs)
        )
    with pytest.raises(InputError, match="Only metrics"):
        numbers.records  # noqa: B018
    with pytest.raises(InputError, match="was not stored"):
        numbers.heads([METRICS[-1]])


def test_memory_is_refused_before_it_is_passed() -> None:
    model, inputs = model_of("decoder"), batch(6)
    with torch.no_grad():
        plain = model(**inputs).logits
        with attention_analyzer.capture(model, max_bytes=1000) as captured:
            inside = model(**inputs).logits
    assert torch.equal(plain, inside)
    with pytest.raises(TooLongError, match="max_bytes=1,000"):
        captured.records  # noqa: B018
    assert "stopped" in repr(captured)


def test_masks_and_biases_count_as_memory() -> None:
    """A mask that is no band is a plane, kept once for all layers."""
    model, inputs = model_of("encoder"), batch(40, 40)
    hides = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(1)) < 0.4
    inputs["attention_mask"] = torch.zeros(2, 1, 40, 40).masked_fill(hides, torch.finfo(torch.float32).min)
    with attention_analyzer.capture(model) as captured:
        model(**inputs)
    queries_and_keys = sum(entry.weights.nbytes for record in captured.records for entry in record.entries)
    plane = 2 * 40 * 40
    for bound, fits in ((queries_and_keys + plane // 2, False), (queries_and_keys + plane, True)):
        with attention_analyzer.capture(model, max_bytes=bound) as captured:
            model(**inputs)
        if fits:
            assert len(captured.records) == 2
        else:
            with pytest.raises(TooLongError, match="queries, keys and masks"):
                _ = captured.records


def test_memory_of_masks_and_biases_is_refused_before_steps_are_put_together() -> None:
    """Steps of T5 have a row of its position bias each; whole they are a plane for every head."""
    model, inputs = model_of("translator"), batch(7)
    settings = {"max_new_tokens": 60, "min_new_tokens": 60, "do_sample": False}
    plain = model.generate(**inputs, **settings)
    with attention_analyzer.capture(model) as captured:
        model.generate(**inputs, **settings)
    kept = sum(entry.weights.nbytes for entry in captured.records[0].entries)
    plane = 3 * 60 * 60 * 4
    for bound, fits in ((kept + plane, False), (4 * kept + 2 * plane, True)):
        with attention_analyzer.capture(model, max_bytes=bound) as captured:
            inside = model.generate(**inputs, **settings)
        assert torch.equal(inside, plain)
        if fits:
            assert captured.records[0].notes["steps"] == 60
        else:
            with pytest.raises(TooLongError, match="put together, but max_bytes leaves"):
                _ = captured.records


def test_what_fails_leaves_nothing_and_the_model_as_it_was() -> None:
    model, inputs = model_of("decoder"), batch(5)
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with pytest.raises(Stop), torch.no_grad(), attention_analyzer.capture(model) as captured:  # noqa: PT012
        model(**inputs)
        handle = model.model.layers[1].register_forward_pre_hook(stop)
        try:
            with pytest.raises(Stop):
                model(**inputs)
        finally:
            handle.remove()
        model(input_ids=inputs["input_ids"][:, :3])
        raise Stop
    assert [len(record.tokens) for record in captured] == [5, 3]
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    with torch.no_grad():
        model(**inputs)
    assert len(captured) == 2


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_forward_leaves_no_watch_behind(interrupt: type[BaseException]) -> None:
    block, x = Block(), torch.randn(1, 4, 12)

    def stop(*_: object) -> None:
        raise interrupt

    with torch.no_grad(), attention_analyzer.capture(block) as captured:
        handle = block.project.register_forward_hook(stop)
        with pytest.raises(interrupt):
            block(x)
        handle.remove()
        block(x)
    assert len(captured) == 1
    assert not _get_current_dispatch_mode_stack()


def test_an_interrupt_that_ends_the_block_leaves_no_watch_behind() -> None:
    block = Block()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    block.project.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt), attention_analyzer.capture(block):
        block(torch.randn(1, 4, 12))
    assert not _get_current_dispatch_mode_stack()


def test_a_part_that_runs_again_in_the_backward_pass_is_not_captured_again() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()
            self.out = nn.Linear(12, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(checkpoint(self.block, x, use_reentrant=False))

    net = Net()
    with attention_analyzer.capture(net) as captured:
        net(torch.randn(1, 4, 12)).sum().backward()
    assert len(captured) == 1


def test_nested_blocks_and_other_models() -> None:
    model, other = model_of("decoder"), model_of("encoder")
    inputs = batch(4)
    with torch.no_grad(), attention_analyzer.capture(model) as outer:
        model(**inputs)
        with attention_analyzer.capture(model) as inner, attention_analyzer.capture(other) as foreign:
            model(**inputs)
            other(**inputs)
        model(**inputs)
    assert [len(each) for each in (outer, inner, foreign)] == [3, 1, 1]
    torch.testing.assert_close(outer[1].weights(0), inner[0].weights(0), rtol=0, atol=0)


def test_other_threads_and_tasks_are_not_captured() -> None:
    model, inputs = model_of("decoder"), batch(4)

    def run() -> None:
        with torch.no_grad():
            model(**inputs)

    with attention_analyzer.capture(model) as captured:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert len(captured) == 0

    async def inside(ready: asyncio.Event) -> int:
        with attention_analyzer.capture(model) as own:
            ready.set()
            await asyncio.sleep(0.01)
            run()
        return len(own)

    async def outside(ready: asyncio.Event) -> None:
        await ready.wait()
        run()

    async def both() -> int:
        ready = asyncio.Event()
        other = asyncio.create_task(outside(ready))
        found = await inside(ready)
        await other
        return found

    # In a thread of its own: another test may have left a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, both()).result() == 1


def test_words_of_a_text_and_a_pipeline() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    pipe = pipeline("text-generation", model=analyzer.model, tokenizer=analyzer.tokenizer)
    with attention_analyzer.capture(pipe) as captured:
        answer = pipe("Once upon a time", max_new_tokens=4, min_new_tokens=4, do_sample=False)[0]["generated_text"]
    (record,) = captured.records
    assert record.tokens.text.strip() == answer.rsplit(" ", 1)[0].strip() or answer.startswith(
        record.tokens.text.strip()
    )
    assert record.fingerprint == analyzer.fingerprint
    alone = analyzer.record(record.tokens.text)
    torch.testing.assert_close(record.weights(2), alone.weights(2), rtol=0, atol=2e-6)


def test_weights_that_changed_since_have_no_fingerprint() -> None:
    model, inputs = model_of("encoder"), batch(4)
    with torch.no_grad(), attention_analyzer.capture(model) as captured:
        model(**inputs)
        next(model.parameters()).mul_(1.5)
    assert captured[0].fingerprint == ""
