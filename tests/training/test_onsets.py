"""Onsets, signs and comparisons of histories with planted answers; the bundled history's induction head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.training import EveryNSeconds, EveryNSteps, History, LogSpaced
from attention_analyzer.training.schedule import Budget

STEPS = [0, 10, 20, 50, 100, 200, 500, 1000]


def planted(onset: int = 100, noise: float = 0.0, **columns: object) -> History:
    """Three heads in two layers; L1H1 takes the induction role at a step, L0H2 has it for a while."""
    draw = np.random.default_rng(0)
    rows = []
    for step in STEPS:
        for layer in range(2):
            for head in range(3):
                strength = 0.9 if (layer, head) == (1, 1) and step >= onset else 0.03
                strength = 0.8 if (layer, head) == (0, 2) and 20 <= step <= 100 else strength
                values = {"entropy": 2.0, "induction": strength + noise * draw.normal(), "loss": 8 / (1 + step)}
                rows.append({"step": step, "stack": "decoder", "kind": "self", "layer": layer, "head": head} | values)
    table = pd.DataFrame(rows)
    for name, function in columns.items():
        table[name] = [function(row) for row in table.itertuples()]  # type: ignore[operator]
    return History(table, "planted")


def test_an_onset_lies_between_the_steps_around_it() -> None:
    found = planted(induction_error=lambda _: 0.001).onsets().set_index(["layer", "head"])
    kept = found.loc[1, 1]
    assert kept["low"] == 50 and kept["high"] == 100
    assert 50 < kept["onset"] < 100 and np.isnan(kept["lost"])
    given_up = found.loc[0, 2]
    assert given_up["low"] == 10 and given_up["high"] == 20 and given_up["lost"] == 200
    assert len(found) == 2


def test_an_error_widens_the_interval() -> None:
    def error(row: object) -> float:
        return 0.3 if getattr(row, "step") in (50, 100) else 0.001  # noqa: B009

    wide = planted(induction_error=error).onsets().set_index(["layer", "head"]).loc[1, 1]
    assert (wide["low"], wide["high"]) == (20, 200)


def test_what_the_control_explains_is_no_role() -> None:
    assert planted(induction_control=lambda row: 0.85 if row.layer else 0.0).onsets()["layer"].tolist() == [0]


def test_collapsed_dead_and_uniform_heads_are_warned_of() -> None:
    history = planted(
        entropy=lambda row: 0.05 if row.layer and row.step >= 200 else 2.0,
        first_weight=lambda row: 0.99 if (row.layer, row.head) == (0, 1) and row.step >= 50 else 0.1,
        normalized_entropy=lambda row: 1.0 if (row.layer, row.head) == (0, 0) else 0.5,
    )
    signs = history.signs().set_index("sign")
    assert signs.loc["entropy collapse", "layer"] == 1 and signs.loc["entropy collapse", "since"] == 200
    assert (signs.loc["sink head", "head"], signs.loc["sink head", "since"]) == (1, 50)
    assert (signs.loc["uniform head", "layer"], signs.loc["uniform head", "head"]) == (0, 0)
    assert len(signs) == 3
    assert "collapsed at step 200" in history.report()


def test_duplicate_heads_are_found_by_their_patterns() -> None:
    draw = np.random.default_rng(1)
    shown = {(layer, head): draw.dirichlet(np.ones(5), 5).astype(np.float16) for layer in range(2) for head in range(3)}
    shown[1, 2] = shown[0, 1]
    history = planted(pattern=lambda row: shown[row.layer, row.head].tobytes(), pattern_queries=lambda _: 5)
    sign = history.signs().iloc[0]
    assert (sign["layer"], sign["head"], sign["other_layer"], sign["other_head"]) == (0, 1, 1, 2)
    assert len(history.signs()) == 1
    assert history.pattern(100, 1, 2) == pytest.approx(shown[0, 1].astype(float))


def test_two_runs_are_told_apart_by_their_onsets() -> None:
    early, late = (planted(onset, induction_error=lambda _: 0.001) for onset in (100, 500))
    # The head that gave its role up again is early in both; without it, what is left is the planted one.
    early, late = (History(each.table[each.table["layer"] == 1], "planted") for each in (early, late))
    runs = early.compare(late, ("early", "late"))
    row = runs.roles.iloc[0]
    assert (row["high_1"], row["low_2"], row["differ"]) == (100, 200, True)
    assert 3 < row["ratio"] < 8
    assert (runs.entropy == 0).all(axis=None)
    assert "early" in str(runs) and runs.plot() is not None
    assert not planted().compare(planted()).roles["differ"].any()


def test_the_bundled_history_shows_the_onset_of_its_induction_head() -> None:
    history = History.load("demo-decoder-history")
    first = history.onsets(["induction"]).iloc[0]
    assert (first["layer"], first["head"]) == (4, 2)
    assert 3600 <= first["low"] < first["onset"] < first["high"] <= 3705
    assert history.pattern_steps == [905, 3651, 4500]
    assert history.pattern(4500, 4, 2).shape == (len(history.source),) * 2
    assert history.pattern(4500, 4, 2).sum(1) == pytest.approx(1, abs=0.01)
    assert "L4H2 was the first" in history.report()
    titles = [axes.get_title(loc="left") for axes in history.plot().axes]
    assert any("induction: L4H2 first" in title for title in titles)
    assert history.head_map(3651, "induction") is not None


def test_a_history_survives_its_file_and_refuses_what_is_none(tmp_path: Path) -> None:
    history = planted()
    history.save(tmp_path / "h")
    again = History.load(tmp_path / "h")
    pd.testing.assert_frame_equal(again.table, history.table, check_dtype=False)
    with pytest.raises(InputError, match="no history at"):
        History.load(tmp_path)
    with pytest.raises(SelectionError, match="nearest recorded step is 50"):
        history.at(60)
    with pytest.raises(SelectionError, match="no 'beauty'"):
        history.wide("beauty")
    with pytest.raises(SelectionError, match="L7H0"):
        history.curve("entropy", 7, 0)


def test_schedules_say_when() -> None:
    def steps(schedule: EveryNSteps | LogSpaced, upto: int) -> list[int]:
        found: list[int] = []
        for step in range(upto + 1):
            if schedule.is_due(step, found[-1] if found else None, 0.0):
                found.append(step)
        return found

    assert steps(EveryNSteps(7), 22) == [0, 7, 14, 21]
    assert steps(LogSpaced(2), 1000) == [0, 1, 4, 10, 32, 100, 317, 1000]
    assert EveryNSeconds(5).is_due(3, 2, 5.1) and not EveryNSeconds(5).is_due(3, 2, 4.9)


def test_the_budget_leaves_room_for_the_last_moment() -> None:
    now = [0.0]
    budget = Budget(0.02, clock=lambda: now[0])
    budget.start()
    assert budget.allows()  # the first
    taken = 0
    for _ in range(10_000):
        now[0] += 0.1
        if budget.allows():
            now[0] += 0.3
            budget.charge(0.3)
            taken += 1
    budget.charge(0.3)  # the last
    assert taken > 10
    assert budget.spent <= 0.02 * budget.elapsed
