"""What has changed, told to the pages that are open: server-sent events, each a JSON object.

{"rows": {name: its row of the table, null where it is gone}, "runs": {name: {"facts", "curves", "log"}}}
"""

import json
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from fer.board.board import Board, board_of
from fer.board.next_steps import next_steps
from fer.board.watch import WatchedRun

PAUSE = 1.0
BUSY_PAUSE = 0.02  # while logs are being read for the first time
KEEP_ALIVE = 15.0


async def events(request: Request) -> StreamingResponse:
    """?rows=1 for the table of runs, ?run=NAME (several) for runs themselves."""
    board, query = board_of(request), request.query_params
    listener = Listener(board, rows="rows" in query, runs=query.getlist("run"))
    return StreamingResponse(_told(board, listener), media_type="text/event-stream")


async def _told(board: Board, listener: "Listener") -> AsyncIterator[str]:
    said = time.monotonic()
    while not board.stopping.is_set():
        if news := await run_in_threadpool(listener.news):
            said = time.monotonic()
            yield f"data: {json.dumps(news)}\n\n"
        elif time.monotonic() - said > KEEP_ALIVE:
            said = time.monotonic()
            yield ": still here\n\n"
        await anyio.sleep(BUSY_PAUSE if board.watch.is_behind(listener.runs) else PAUSE)


@dataclass
class _Told:
    """How much of a run a page has been told."""

    version: int = -1
    rewinds: int = -1
    readings: int = -1
    lines: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class Listener:
    """One page that is open, and what it knows already."""

    def __init__(self, board: Board, *, rows: bool, runs: Sequence[str]):
        self._board, self._rows = board, rows
        self._told_rows: dict[str, int] = {}
        self._told_runs = {name: _Told() for name in runs}

    @property
    def runs(self) -> Collection[str]:
        """The names of those that the page is of."""
        return self._told_runs

    def news(self) -> dict[str, Any]:
        """What has changed since it was asked last; {} for nothing."""
        self._board.watch.refresh(self.runs)
        news: dict[str, Any] = {}
        with self._board.watch.lock:
            there = self._board.watch.runs
            if self._rows and (rows := self._new_rows(there)):
                news["rows"] = rows
            runs = {name: self._new_of(there[name], told) for name, told in self._told_runs.items() if name in there}
            if changed := {name: each for name, each in runs.items() if each}:
                news["runs"] = changed
        return news

    def _new_rows(self, there: dict[str, WatchedRun]) -> dict[str, str | None]:
        changed: dict[str, str | None] = {name: None for name in self._told_rows if name not in there}
        for name, run in there.items():
            if self._told_rows.get(name) != run.version:
                changed[name] = self._board.html("row.html.j2", name=name, row=run.row)
        self._told_rows = {name: run.version for name, run in there.items()}
        return changed

    def _new_of(self, run: WatchedRun, told: _Told) -> dict[str, Any]:
        news: dict[str, Any] = {}
        if told.version != run.version:
            news["facts"] = facts_html(self._board, run)
        if curves := _new_points(run, told):
            news["curves"] = curves
        if (told.readings, told.lines) != (run.log.readings, run.log.lines):
            news["log"] = list(run.log.tail)
        told.version, told.readings, told.lines = run.version, run.log.readings, run.log.lines
        return news


def facts_html(board: Board, run: WatchedRun) -> str:
    """The part of a run's page that changes as it is trained."""
    steps = next_steps(run) if run.run else []
    return board.html("facts.html.j2", row=run.row, run=run.run, steps=steps)


def _new_points(run: WatchedRun, told: _Told) -> dict[str, Any]:
    """{"anew": whether they are all, "points": {name: [iterations, values]}}."""
    curves = run.curves
    anew = told.rewinds != curves.rewinds
    if anew:
        told.counts = {}
    points = {}
    for name, (iterations, values) in curves.points.items():
        known = told.counts.get(name, 0)
        if len(iterations) > known:
            points[name] = [iterations[known:], values[known:]]
        told.counts[name] = len(iterations)
    told.rewinds = curves.rewinds
    return {"anew": anew, "points": points} if anew or points else {}
