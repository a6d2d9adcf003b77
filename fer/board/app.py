"""The board as a web application: its addresses, and what becomes of errors."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fer.board import data_pages, pages, trial
from fer.board.board import Board, board_of
from fer.board.charts import chart_files
from fer.board.events import events
from fer.board.guard import Guard
from fer.errors import FerError
from fer.report import templates

STATIC = Path(__file__).parent / "static"
REPORT = ("report.css", "report.js")  # those of the report: one look


def make_app(board: Board, host: str, token: str | None) -> Guard:
    """The application, guarded. Raises FerError where the charts' library is missing or another."""
    files = {name: templates.HERE / name for name in REPORT}
    files |= {path.name: path for path in STATIC.iterdir()} | chart_files()

    def static(request: Request) -> Response:
        path = files.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404)
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    app = Starlette(
        routes=[
            Route("/", pages.runs_page),
            Route("/runs/{name}", pages.run_page),
            Route("/runs/{name}/report", pages.report_folder),
            Route("/runs/{name}/report/{file:path}", pages.report_file),
            Route("/compare", pages.compare_page),
            Route("/data", data_pages.data_page),
            Route("/data/answers", data_pages.answers_page),
            Route("/data/{key}/{split}/{name:path}", data_pages.image),
            Route("/try", trial.try_page),
            Route("/try/faces", trial.faces, methods=["POST"]),
            Route("/try/map", trial.explanation, methods=["POST"]),
            Route("/events", events),
            Route("/static/{name}", static),
            Route("/favicon.ico", lambda request: Response(status_code=204)),
        ],
        exception_handlers={HTTPException: _refused, FerError: _cannot},
    )
    app.state.board = board
    return Guard(app, host, token)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(request, error.status_code, error.detail)


async def _cannot(request: Request, error: Exception) -> Response:
    return _told(request, 422, str(error))


def _told(request: Request, status: int, what: str) -> Response:
    """An error for whoever asked: a script, an image's place, or a person."""
    if request.method == "POST":
        return JSONResponse({"error": what}, status)
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(what, status)
    return board_of(request).page("error.html.j2", status, what=what)
