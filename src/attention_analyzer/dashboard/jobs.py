"""Long work beside the pages: in threads of its own, with progress, and stopped when nobody waits for it any more.

The same question asked by two sessions, or again after a reload, is one job: its key says all that its answer depends
on. Threads call nothing of Streamlit; a page that waits looks at the job twice a second.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import streamlit as st

from attention_analyzer.dashboard.settings import Settings


class CancelledError(Exception):
    """Raised inside a job's work once nobody waits for it."""


class Job:
    """One piece of long work: how far it is, and in the end its result or error."""

    def __init__(self, title: str, work: Callable[[Job], Any]) -> None:
        self.title = title
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = self.total = 0
        self._said: tuple[float | None, str] | None = None
        self.over = False
        self.cancelled = False
        self._work = work
        self._waiting: set[str] = set()
        self._started: float | None = None

    def progress(self, done: int, total: int) -> None:
        """Called by the work, with how much is done of how much.

        Raises:
            CancelledError: nobody waits for the result; the work should end.
        """
        self.done, self.total = done, total
        if self.cancelled:
            raise CancelledError

    def report(self, share: float | None, words: str) -> None:
        """The same of work that says in its own words how far it is; the share is None where nobody knows.

        Raises:
            CancelledError: nobody waits for the result; the work should end.
        """
        self._said = (share, words)
        if self.cancelled:
            raise CancelledError

    def join(self, session: str) -> None:
        """A session waits for this job."""
        self._waiting.add(session)

    def leave(self, session: str) -> None:
        """A session waits no longer; the last one to leave ends the job."""
        self._waiting.discard(session)
        self.cancelled = self.cancelled or not self._waiting

    def run(self) -> None:
        """Do the work; whatever happens is noted, nothing is raised."""
        self._started = time.monotonic()
        try:
            self.progress(0, 0)
            self.result = self._work(self)
        except CancelledError:
            self.cancelled = True
        except BaseException as error:  # noqa: BLE001 (raised again where a page asks for the result)
            self.error = error
        finally:
            self.over = True
            # What the work holds (an upload, a model) is not needed any more.
            self._work = _nothing

    def seconds_left(self) -> float | None:
        """By the pace until now; None before there is one."""
        if not self.done or not self.total or self._started is None:
            return None
        return (time.monotonic() - self._started) / self.done * (self.total - self.done)

    def state(self) -> tuple[float, str]:
        """A share in [0, 1], and the same in words."""
        if self._started is None:
            return 0.0, f"{self.title}: queued"
        if self._said is not None:
            share, words = self._said
            return min(1.0, share or 0.0), f"{self.title}: {words}"
        if not self.total:
            return 0.0, f"{self.title} …"
        left = self.seconds_left()
        words = f"{self.title}: {self.done:,} of {self.total:,}"
        return min(1.0, self.done / self.total), words + ("" if left is None else f", about {duration(left)} left")


class Jobs:
    """All jobs of the server; finished ones are kept until newer ones push them out."""

    def __init__(self, workers: int, most: int = 40) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="attention-job")
        self._jobs: OrderedDict[Hashable, Job] = OrderedDict()
        self._most = most
        self._lock = Lock()

    def get(self, key: Hashable) -> Job | None:
        """The job of a key, unless it was cancelled."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and job.cancelled:
                del self._jobs[key]
                return None
            return job

    def start(self, key: Hashable, title: str, work: Callable[[Job], Any], session: str) -> Job:
        """Start a job, or wait for the one that is under way."""
        job = self.get(key)
        with self._lock:
            if job is None:
                job = self._jobs[key] = Job(title, work)
                finished = [name for name, known in self._jobs.items() if known.over]
                for name in finished[: max(0, len(self._jobs) - self._most)]:
                    del self._jobs[name]
                self._pool.submit(job.run)
            job.join(session)
        return job

    def forget(self, key: Hashable) -> None:
        """Let a finished job's result go, so that it can be asked anew."""
        with self._lock:
            self._jobs.pop(key, None)


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The server's jobs."""
    return Jobs(Settings.here().workers)


def wait_for(key: Hashable, title: str, work: Callable[[Job], Any], *, button: str | None = None) -> Any:
    """The result of long work; None while there is none, with its progress or the button that starts it on the page.

    Args:
        key: everything that the result depends on.
        title: what is done, for the progress bar.
        work: called in another thread, with the job that it reports to.
        button: what starts it; without one it starts at once.

    Raises:
        Exception: what the work raised.
    """
    job = jobs().get(key)
    if job is None:
        if button is not None and not st.button(button, key=f"start-{key}", type="primary"):
            return None
        job = jobs().start(key, title, work, _session())
    if not job.over:
        job.join(_session())
        _watch(key)
        return None
    if job.error is not None:
        jobs().forget(key)
        raise job.error
    return job.result


@st.fragment(run_every=0.5)
def _watch(key: Hashable) -> None:
    """A progress bar and a button that ends the waiting; the page is drawn again when there is a result."""
    job = jobs().get(key)
    if job is None or job.over:
        st.rerun()
        return
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(*job.state())
    if button.button("Cancel", key=f"cancel-{key}", width="stretch"):
        job.leave(_session())
        st.rerun()


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _session() -> str:
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    return "" if context is None else str(context.session_id)


def _nothing(job: Job) -> None:
    """The work of a job that is over."""
