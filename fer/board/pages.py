"""The pages of runs: all of them, one, and several side by side."""

import re
import shlex
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from fer.board.board import board_of
from fer.board.comparison import Comparison, compare
from fer.board.events import facts_html
from fer.board.guard import REPORT_POLICY
from fer.errors import FerError
from fer.report import words
from fer.report.files import MARK
from fer.report.net_table import net_table
from fer.report.table import Table
from fer.runs.run import Run
from fer.system.records import as_json
from fer.system.shell import command

_SCRIPT = re.compile(r"<script>.*?</script>", re.DOTALL)
# The facts of run.json that a run's page lists, by their names there.
FACTS = (
    "seed", "hardware", "git_commit", "precision", "gpu", "batch_size", "started", "seconds", "ended", "repeatable",
    "given", "versions",
)  # fmt: skip


def runs_page(request: Request) -> Response:
    """The table of runs."""
    board = board_of(request)
    board.watch.refresh()
    rows = {name: run.row for name, run in board.watch.runs.items()}
    newest = dict(sorted(rows.items(), key=lambda each: each[1].started, reverse=True))
    return board.page("runs.html.j2", rows=newest, folder=board.watch.folder)


def run_page(request: Request) -> Response:
    """One run."""
    board, name = board_of(request), request.path_params["name"]
    watched, run = board.run(name)
    net, fault = _net_table(run)
    return board.page(
        "run.html.j2",
        name=name,
        facts=facts_html(board, watched),
        about=_about(run),
        net=net,
        net_fault=fault,
        solver=_text(run.solver),
        tail=list(watched.log.tail),
        has_report=(run.report_dir / MARK).is_file(),
        is_scored=run.scores("val").is_file(),
    )


def _net_table(run: Run) -> tuple[Table | None, str]:
    try:
        return net_table(run), ""
    except FerError as error:
        return None, str(error)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"{path.name}: {error.strerror}"


def _about(run: Run) -> list[tuple[str, str]]:
    """What run.json says of how it is trained: hardware, seed, commit and the rest, as pairs of texts."""
    record = as_json(run.record)
    data = " in ".join(filter(None, (record["data"]["title"], record["data"]["dir"])))
    facts = [(name.replace("_", " "), words.flat(record[name])) for name in FACTS]
    return [("directory", str(run.dir)), ("command", shlex.join(record["command"])), ("data", data), *facts]


_SHOWN = {".png": "image/png", ".svg": "image/svg+xml", ".csv": "text/csv", ".json": "application/json"}
"""What a report holds besides its page; anything else in somebody's run, as a script, is bytes to a browser."""


def report_file(request: Request) -> Response:
    """A file of a run's report; its page without a script of its own."""
    board, name = board_of(request), request.path_params["name"]
    _, run = board.run(name)
    path = run.report_dir / request.path_params["file"]
    if not (path.is_file() and path.resolve().is_relative_to(run.report_dir.resolve())):
        raise HTTPException(404, "no such file in the report")
    if path.suffix != ".html":
        return FileResponse(path, media_type=_SHOWN.get(path.suffix, "application/octet-stream"))
    page = path.read_text(encoding="utf-8", errors="replace")
    page = _SCRIPT.sub('<script src="/static/report.js"></script>', page)
    return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


def report_folder(request: Request) -> Response:
    """The report's page, where its figures are found beside it."""
    return RedirectResponse(f"{request.url.path.rstrip('/')}/report.html", 303)


def compare_page(request: Request) -> Response:
    """?run=NAME, several: the curves of them together, and where they are scored their figures and McNemar's test."""
    board = board_of(request)
    board.watch.refresh()
    there = board.watch.runs
    chosen = [name for name in dict.fromkeys(request.query_params.getlist("run")) if name in there]
    runs = {name: run for name in chosen if (run := there[name].run) is not None}
    found, fault = Comparison(), ""
    try:
        found = compare(runs)
    except FerError as error:
        fault = str(error)
    rows = {name: each.row for name, each in there.items()}
    scored = [run.dir for name, run in runs.items() if name not in found.unscored]
    steps = command("fer", "report", *scored) if len(scored) > 1 else ""
    return board.page("compare.html.j2", rows=rows, chosen=list(runs), found=found, fault=fault, command=steps)
