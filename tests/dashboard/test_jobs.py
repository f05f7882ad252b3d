"""Long work: in its own thread, with progress, shared by those who wait, ended when nobody does."""

from __future__ import annotations

import time
from threading import Event
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from attention_analyzer.dashboard.jobs import Job, Jobs, duration


def until(check: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def counting(gate: Event) -> Any:
    def work(job: Job) -> str:
        for number in range(1, 6):
            job.progress(number, 5)
            if number == 2:
                gate.wait(20)
        return "done"

    return work


def test_a_job_reports_and_ends() -> None:
    jobs, gate = Jobs(1), Event()
    job = jobs.start("a", "Counting", counting(gate), "one")
    until(lambda: job.done == 2)
    share, said = job.state()
    assert share == pytest.approx(0.4)
    assert said.startswith("Counting: 2 of 5, about")
    gate.set()
    until(lambda: job.over)
    assert jobs.get("a").result == "done"


def test_the_same_question_is_one_job_and_the_last_to_leave_ends_it() -> None:
    jobs, gate = Jobs(1), Event()
    job = jobs.start("a", "Counting", counting(gate), "one")
    assert jobs.start("a", "Counting", counting(gate), "two") is job
    until(lambda: job.done == 2)
    job.leave("one")
    assert not job.cancelled
    job.leave("two")
    gate.set()
    until(lambda: job.over)
    assert job.result is None
    assert jobs.get("a") is None
    assert jobs.start("a", "Counting", counting(gate), "one") is not job


def test_more_work_than_threads_waits_its_turn() -> None:
    jobs, gate = Jobs(1), Event()
    first = jobs.start("a", "First", counting(gate), "one")
    second = jobs.start("b", "Second", counting(gate), "two")
    until(lambda: first.done == 2)
    assert second.state() == (0.0, "Second: queued")
    gate.set()
    until(lambda: second.over)


def test_finished_jobs_are_few() -> None:
    jobs = Jobs(1, most=3)
    for number in range(9):
        job = jobs.start(number, "Quick", lambda job, number=number: number, "one")
        until(lambda job=job: job.over)
    assert jobs.get(0) is None
    assert jobs.get(8).result == 8


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "a second"), (41, "41 seconds"), (600, "10 minutes"), (9000, "2.5 hours")]
)
def test_durations_are_said_plainly(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def waiting_page() -> None:
    import time

    import streamlit as st

    from attention_analyzer.dashboard.error_boundary import guarded
    from attention_analyzer.dashboard.jobs import wait_for

    def work(job):
        for number in range(1, 4):
            job.progress(number, 3)
            time.sleep(0.05)
        if st.session_state is None:
            return None
        return 42

    def failing(job):
        raise ValueError("private")

    with guarded():
        found = wait_for("waiting-page", "Counting", work, button="Begin")
        if found is not None:
            st.text(f"found {found}")
            wait_for("failing-page", "Failing", failing)


def test_a_page_waits_and_shows_the_result() -> None:
    app = AppTest.from_function(waiting_page, default_timeout=120).run()
    assert not app.text
    app.button[0].click().run()
    until(lambda: app.run().text)
    assert app.text[0].value == "found 42"
    until(lambda: app.run().error)
    assert "private" not in app.error[0].value
