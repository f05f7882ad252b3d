"""The cache of records: same results, never stale, bounded, shared by processes, no harm from a bad disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.cache import RecordCache
from attention_analyzer.recording import record_texts
from tests.damage import damaged_copies, disk_of
from tests.test_recording import llama, tokenizer


@pytest.fixture
def analyzer(tmp_path: Path) -> AttentionAnalyzer:
    return AttentionAnalyzer.of(llama(), cache=tmp_path / "cache")


def test_the_second_call_does_not_run_the_model(analyzer: AttentionAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = analyzer.record("the cat sat .")
    calls = []
    monkeypatch.setattr(LlamaForCausalLM, "forward", lambda *args, **kwargs: calls.append(1))
    second = analyzer.record("the cat sat .")
    assert not calls
    assert second.tokens == first.tokens
    assert all(
        torch.equal(a.weights.full(), b.weights.full()) for a, b in zip(first.entries, second.entries, strict=True)
    )


def test_only_what_is_missing_is_made(analyzer: AttentionAnalyzer) -> None:
    analyzer.record("a dog")
    records = analyzer.record(["the cat", "a dog", "the mat ."])
    expected = record_texts(analyzer.loaded, ["the cat", "a dog", "the mat ."])
    for mine, other in zip(records, expected, strict=True):
        assert mine.tokens == other.tokens
        torch.testing.assert_close(mine.weights(1), other.weights(1), atol=1e-5, rtol=0)


def test_a_changed_model_is_never_answered_from_the_past(analyzer: AttentionAnalyzer) -> None:
    before = analyzer.record("the cat sat .")
    with torch.no_grad():
        analyzer.model.model.layers[0].self_attn.q_proj.weight.data.mul_(3)
    after = analyzer.record("the cat sat .")
    assert after.fingerprint != before.fingerprint
    assert not torch.allclose(after.weights(0), before.weights(0))


def test_another_tokenizer_is_another_key(analyzer: AttentionAnalyzer) -> None:
    analyzer.record("the cat")
    config = LlamaConfig(**analyzer.model.config.to_diff_dict())
    model = LlamaForCausalLM(config)
    model.load_state_dict(analyzer.model.state_dict())
    other = AttentionAnalyzer(model.eval(), tokenizer(closing=True), cache=analyzer.cache.folder)
    assert other.record("the cat").tokens.pieces == ("<s>", "the", "cat", "</s>")


def test_it_stays_within_its_limit(tmp_path: Path) -> None:
    records = record_texts(llama(), [" ".join(["the"] * count) for count in range(3, 33)])
    cache = RecordCache(tmp_path, limit=120_000)
    for number, record in enumerate(records):
        cache.put(f"{number:03}", record)
        os.utime(tmp_path / f"{number:03}.attn", (number, number))
    assert 0 < cache.size() <= cache.limit
    assert cache.get("000") is None
    assert cache.get("029") is not None


def test_one_record_may_not_crowd_out_the_others(tmp_path: Path) -> None:
    record = record_texts(llama(), ["the cat"])[0]
    cache = RecordCache(tmp_path, limit=record.nbytes)
    cache.put("large", record)
    assert cache.size() == 0


def test_a_corrupt_entry_is_made_again(analyzer: AttentionAnalyzer) -> None:
    first = analyzer.record("the cat")
    (file,) = analyzer.cache.folder.iterdir()
    file.write_bytes(b"broken")
    assert torch.equal(analyzer.record("the cat").weights(0), first.weights(0))
    assert analyzer.cache.get(file.stem) is not None


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    analyzer = AttentionAnalyzer.of(llama(), cache=tmp_path / "file")
    assert len(analyzer.record("the cat").tokens) == 3


def test_on_a_full_disk_the_analysis_works_and_nothing_is_kept(tmp_path: Path) -> None:
    analyzer = AttentionAnalyzer.of(llama(), cache=tmp_path / "cache")
    with disk_of(2000):
        record = analyzer.record("the cat")
    assert record.heads().notna().all(axis=None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_altered_entry_is_made_again(analyzer: AttentionAnalyzer) -> None:
    first = analyzer.record("the cat")
    (file,) = analyzer.cache.folder.iterdir()
    for bad in damaged_copies(file.read_bytes(), 12, seed=2):
        file.write_bytes(bad)
        assert analyzer.cache.get(file.stem) is None
        assert not file.exists()
    assert torch.equal(analyzer.record("the cat").weights(0), first.weights(0))


def test_a_folder_that_others_may_write_is_not_used(analyzer: AttentionAnalyzer) -> None:
    analyzer.record("the cat")
    analyzer.cache.folder.chmod(0o777)
    (file,) = analyzer.cache.folder.iterdir()
    with pytest.warns(UserWarning, match="Other users may write to .* Records are not cached"):
        assert analyzer.cache.get(file.stem) is None
    with pytest.warns(UserWarning, match="Records are not cached"):
        analyzer.record("a dog")
    assert list(analyzer.cache.folder.iterdir()) == [file]


def test_a_file_that_others_may_write_is_not_read(analyzer: AttentionAnalyzer) -> None:
    analyzer.record("the cat")
    (file,) = analyzer.cache.folder.iterdir()
    file.chmod(0o666)
    assert analyzer.cache.get(file.stem) is None


def test_the_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        AttentionAnalyzer.of(llama(), cache=tmp_path / "new").record("the cat")
    finally:
        os.umask(before)
    (file,) = (tmp_path / "new").iterdir()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o022 == 0


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".a.attn.0123.part").write_bytes(b"half")
    os.utime(tmp_path / ".a.attn.0123.part", (1, 1))
    (tmp_path / ".b.attn.0123.part").write_bytes(b"somebody is writing")
    RecordCache(tmp_path).put("c", record_texts(llama(), ["the cat"])[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.attn.0123.part", "c.attn"]


def test_off_and_cleared(tmp_path: Path, analyzer: AttentionAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_ANALYZER_CACHE", str(tmp_path / "default"))
    AttentionAnalyzer.of(llama(), cache=False).record("the cat")
    assert not (tmp_path / "default").exists()
    AttentionAnalyzer.of(llama(), cache=True).record("the cat")
    assert len(list((tmp_path / "default").iterdir())) == 1
    analyzer.record(["the cat", "a dog"])
    assert analyzer.cache.clear() == 2
    assert analyzer.cache.size() == 0


WRITER = """
import sys
from pathlib import Path
from attention_analyzer.cache import RecordCache
from attention_analyzer.recording import record_texts
from tests.test_recording import llama
record = record_texts(llama(), ["the cat sat on the mat ."])[0]
cache = RecordCache(Path(sys.argv[1]))
for number in range(60):
    cache.put(f"{number % 7}", record)
    again = cache.get(f"{(number + 3) % 7}")
    assert again is None or again.tokens == record.tokens
print("done")
"""


def test_two_processes_may_share_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    root = Path(__file__).resolve().parent.parent
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in running] == ["done", "done"]
    assert all(path.suffix == ".attn" for path in tmp_path.iterdir())
