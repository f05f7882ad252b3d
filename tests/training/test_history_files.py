"""A history's files come back as they were written, or are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.files import write_json
from attention_analyzer.training.history import History
from attention_analyzer.training.history_files import write_table
from attention_analyzer.training.snapshot_store import MomentStore
from tests.damage import damaged_copies, disk_of


def moment(step: int) -> pd.DataFrame:
    heads = pd.DataFrame({"layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "entropy": [1.0, 2.0, 0.5, 0.25]})
    return heads.assign(step=step, stack="decoder", kind="self", loss=4.0 / step)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    whole = pd.concat([moment(step) for step in (1, 2, 3)])
    return History(whole, "model", ("a", "b")).save(tmp_path / "saved")


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    store = MomentStore(tmp_path / "tracked")
    store.describe("model", ("a", "b"), ())
    for step in (1, 2, 3):
        store.write(step, moment(step))
    return store.folder


def test_both_forms_say_the_same(saved: Path, tracked: Path) -> None:
    one, other = History.load(saved), History.load(tracked)
    pd.testing.assert_frame_equal(one.table, other.table)
    assert (one.model_name, one.source, one.target) == (other.model_name, other.source, other.target)


@pytest.mark.parametrize("name", ["history.parquet", "history.json"])
def test_damage_to_a_saved_history_is_noticed(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    for bad in damaged_copies(content, 24, seed=3):
        (saved / name).write_bytes(bad)
        with pytest.raises(FileFormatError):
            History.load(saved)


def test_damage_to_a_moment_is_noticed(tracked: Path) -> None:
    path = tracked / "moments" / "step-000000002.parquet"
    for bad in damaged_copies(path.read_bytes(), 12, seed=4):
        path.write_bytes(bad)
        with pytest.raises(FileFormatError, match="step-000000002"):
            History.load(tracked)


def test_a_foreign_table_is_refused(saved: Path) -> None:
    moment(9).to_parquet(saved / "history.parquet")
    with pytest.raises(FileFormatError, match="lost its checksum"):
        History.load(saved)


def test_a_history_of_the_first_format_loads_with_a_warning(saved: Path) -> None:
    before = History.load(saved).table
    (saved / "history.json").write_text(json.dumps({"format": 1, "model": "m", "source": [], "target": []}))
    pq.write_table(pq.read_table(saved / "history.parquet").replace_schema_metadata(None), saved / "history.parquet")
    with pytest.warns(UserWarning, match="older version, without a checksum") as warned:
        pd.testing.assert_frame_equal(History.load(saved).table, before)
    assert len(warned) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"format": 9},
        {"format": "2"},
        {"format": 0},
        {"model": 3},
        {"source": "abc"},
        {"source": [1]},
        {"target": [None]},
    ],
)
def test_descriptions_that_do_not_fit(saved: Path, change: dict) -> None:
    write_json(saved / "history.json", {"format": 2, "model": "m", "source": [], "target": []} | change)
    with pytest.raises(FileFormatError):
        History.load(saved)


@pytest.mark.parametrize(
    "change",
    [{"step": 1.5}, {"step": "a"}, {"layer": None}, {"stack": 3}, {"kind": None}, {"head": 0}],
)
def test_tables_that_do_not_fit(saved: Path, change: dict) -> None:
    write_table(saved / "history.parquet", moment(1).assign(**change))
    with pytest.raises(FileFormatError):
        History.load(saved)


def test_a_full_disk_leaves_what_was_there(saved: Path, tracked: Path) -> None:
    with disk_of(500), pytest.raises(InputError, match="could not be written"):
        History(moment(7)).save(saved)
    assert History.load(saved).steps == [1, 2, 3]
    with disk_of(500), pytest.raises(InputError, match="could not be written"):
        MomentStore(tracked).write(2, moment(2))
    assert History.load(tracked).steps == [1, 2, 3]
    assert len(list((tracked / "moments").iterdir())) == 3
    shutil.rmtree(tracked)
    with disk_of(20), pytest.raises(InputError, match="could not be written"):
        MomentStore(tracked).describe("model", ("a",), ())
