"""Long runs: in order, stoppable, waiting calmly for another program, and never ending those after them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stackroom.errors import NotFoundError, UsageError
from stackroom.progress import CancelToken, Progress, ProgressEvent, Stopped
from stackroom.reports import Note, Report
from stackroom.storage.store import LocalStore
from stackroom.web import jobs as module
from stackroom.web.app import _changes, application
from stackroom.web.jobs import ENDED, Job, Jobs
from support import write_files
from web_support import ADDRESS, OWN, TOKEN, Asker


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.close()


def settled(job: Job, *states: str) -> Job:
    until = time.monotonic() + 30
    while job.state not in (states or ENDED):
        assert time.monotonic() < until, job.state
        time.sleep(0.005)
    return job


def test_writing_jobs_run_one_after_the_other_and_lookers_beside_them(jobs: Jobs) -> None:
    gate, order = threading.Event(), []

    def first(progress: Progress, cancel: CancelToken) -> object:
        gate.wait(30)
        order.append("first")
        return Report(added=1)

    def second(progress: Progress, cancel: CancelToken) -> object:
        order.append("second")
        return Report()

    begun = [jobs.start("add", "first", first), jobs.start("add", "second", second)]
    look = jobs.start("verify", "look", lambda progress, cancel: {"ok": True}, writes=False)
    settled(look)
    assert begun[1].state == "queued"
    gate.set()
    for job in begun:
        settled(job)
    assert order == ["first", "second"]
    result = begun[0].form()["result"]
    assert result["added"] == 1
    assert [job.title for job in jobs.all()] == ["look", "second", "first"]


def test_progress_is_told_and_each_change_counts(jobs: Jobs) -> None:
    gate = threading.Event()

    def work(progress: Progress, cancel: CancelToken) -> object:
        progress(ProgressEvent("index", 3, 10, chunks=70, rate=12.345, seconds_left=6.78, current="/a/b.txt"))
        gate.wait(30)
        return Report()

    before = jobs.revision
    job = jobs.start("add", "a", work)
    until = time.monotonic() + 30
    while job.event is None and time.monotonic() < until:
        time.sleep(0.005)
    progress = job.form()["progress"]
    gate.set()
    assert (progress["done"], progress["total"], progress["rate"], progress["seconds_left"]) == (3, 10, 12.3, 6.8)
    settled(job)
    assert jobs.revision > before + 2


def test_a_job_is_stopped_whether_it_runs_or_waits(jobs: Jobs) -> None:
    def work(progress: Progress, cancel: CancelToken) -> object:
        cancel.wait(30)
        return Report(added=2, cancelled=True)

    def stopped(progress: Progress, cancel: CancelToken) -> object:
        raise Stopped

    running, waiting, third = (
        jobs.start("add", "a", work),
        jobs.start("add", "b", work),
        jobs.start("add", "c", stopped),
    )
    settled(running, "running")
    assert jobs.cancel(waiting.id).state == "cancelled"
    jobs.cancel(running.id)
    assert settled(running).state == "cancelled"
    result = running.form()["result"]
    assert result["added"] == 2
    assert settled(third).state == "cancelled"
    with pytest.raises(NotFoundError):
        jobs.cancel("99")


def test_a_failure_is_kept_and_the_next_job_runs(jobs: Jobs, capsys: pytest.CaptureFixture) -> None:
    def wrong(progress: Progress, cancel: CancelToken) -> object:
        raise UsageError("That can't be.", hint="Do something else.")

    def fault(progress: Progress, cancel: CancelToken) -> object:
        raise RuntimeError("oh")

    told = [settled(jobs.start("add", "a", work)).form() for work in (wrong, fault)]
    assert told[0]["error"] == {"type": "UsageError", "message": "That can't be.", "hint": "Do something else."}
    assert told[1]["error"]["type"] == "InternalError"
    assert "RuntimeError: oh" in capsys.readouterr().err
    assert settled(jobs.start("add", "b", lambda progress, cancel: Report())).state == "done"


def test_old_jobs_are_forgotten(jobs: Jobs) -> None:
    for number in range(40):
        settled(jobs.start("add", str(number), lambda progress, cancel: Report()))
    assert len(jobs.all()) == module._KEPT + 1
    assert jobs.all()[0].title == "39"


def test_another_program_that_indexes_is_waited_for(
    asker: Asker, folder: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN", 0.02)
    asker.get("/api/status")
    write_files(folder, {"a.txt": "A cat purrs."})
    other = LocalStore(library)
    with other.lease("add of another program"):
        told = asker.post("/api/add", {"paths": [str(folder)]}, 202)
        job = settled(asker.workspace.jobs.get(told["job"]["id"]), "waiting")
        assert job.error is not None
        assert job.error["type"] == "BusyError"
        assert asker.get("/api/search", q="cat")["hits"] == []
    assert asker.ended(told)["result"]["added"] == 1
    assert job.error is None
    with other.lease("add of another program"):
        told = asker.post("/api/add", {"paths": [str(folder)]}, 202)
        settled(asker.workspace.jobs.get(told["job"]["id"]), "waiting")
        asker.post(f"/api/jobs/{told['job']['id']}/cancel")
        assert asker.ended(told)["state"] == "cancelled"
    other.close()


async def test_what_runs_is_told_while_a_hundred_wait_for_their_answers(
    filled: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, asked = threading.Event(), threading.Semaphore(0)
    index = filled.workspace.library.index()
    real = index.search

    def slow(*given: Any, **more: Any) -> Any:
        asked.release()
        gate.wait(60)
        return real(*given, **more)

    monkeypatch.setattr(index, "search", slow)
    page = httpx.ASGITransport(application(filled.workspace, ADDRESS, TOKEN))
    async with httpx.AsyncClient(transport=page, base_url=ADDRESS.url, headers=OWN) as client:
        waiting = [asyncio.ensure_future(client.get("/api/search", params={"q": "old log files"})) for _ in range(100)]
        try:
            # All threads that answer are taken once no more of them ask.
            while await asyncio.to_thread(asked.acquire, timeout=0.5):
                pass
            events = _changes(filled.workspace)
            assert '"jobs": []' in await anext(events)
            running = threading.Event()
            job = filled.workspace.jobs.start("add", "Papers", lambda progress, cancel: running.wait(60) and None)
            assert f'"id": "{job.id}"' in await anext(events)
            running.set()
            while '"state": "done"' not in (told := await anext(events)):
                assert '"state": "running"' in told
            assert not any(one.done() for one in waiting)
            await events.aclose()
        finally:
            gate.set()
            answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {200}


def test_the_page_answers_while_it_indexes(asker: Asker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(folder, {"a.txt": "A cat purrs."})
    asker.added(folder)
    gate = threading.Event()
    index = asker.workspace.library.index()
    real = index.embedder().embed_passages

    def slow(texts: Any) -> Any:
        gate.wait(30)
        return real(texts)

    monkeypatch.setattr(index.embedder(), "embed_passages", slow)
    write_files(folder, {"b.txt": "A dog barks."})
    told = asker.post("/api/add", {"paths": [str(folder)]}, 202)
    assert asker.search("purrs")[0]["document"]["title"] == "a.txt"
    assert asker.post("/api/active", {"sources": ["a.txt"], "active": False})["active_sources"] == 0
    assert asker.post("/api/remove", {"sources": ["a.txt"]})["removed"] == 1
    assert asker.get(f"/api/jobs/{told['job']['id']}")["job"]["state"] == "running"
    gate.set()
    assert asker.ended(told)["result"]["added"] == 1


def test_many_scans_do_not_hide_a_file_that_was_read_in_part(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHOWN", 2)
    notes = [Note(f"{n}.pdf", "1 of its 3 pages without text.", "pages_without_text") for n in range(3)]
    report = Report(notes=(*notes, Note("z.jsonl", "Line 2 can't be read.", "incomplete")))
    job = settled(jobs.start("add", "a", lambda progress, cancel: report))
    assert job.result is not None
    assert [note["path"] for note in job.result["notes"]] == ["0.pdf", "1.pdf", "z.jsonl"]
