"""What all pages of the board share: the runs, the data directories, the models, and how a page is rendered."""

import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fer import __version__
from fer.board.library import Faces, Library, Place
from fer.board.models import Models
from fer.board.watch import Watch, WatchedRun
from fer.report.templates import environment
from fer.runs.run import Run

TEMPLATES = Path(__file__).parent / "templates"


class Board:
    """`stopping` is set once the server ends, so that no page waits for more."""

    def __init__(self, runs: Path, data: Path | None):
        self.watch = Watch(runs)
        self.library = Library(data)
        self.models = Models()
        self.stopping = threading.Event()
        self._templates = environment(TEMPLATES)
        self._templates.filters["url"] = lambda text: quote(text, safe="")
        self._templates.globals |= {"version": __version__}

    def html(self, template: str, **context: Any) -> str:
        """A template, or a part of one, rendered."""
        return self._templates.get_template(template).render(**context)

    def page(self, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """A whole page."""
        return HTMLResponse(self.html(template, board=self, **context), status)

    def run(self, name: str) -> tuple[WatchedRun, Run]:
        """A run that is listed and can be read; HTTP's 404 otherwise."""
        self.watch.refresh()
        watched = self.watch.runs.get(name)
        if watched is None or watched.run is None:
            raise HTTPException(404, (watched and watched.row.fault) or f"no run {name!r} in {self.watch.folder}")
        return watched, watched.run

    def places(self) -> list[Place]:
        """The data directories that are there."""
        self.watch.refresh()
        return self.library.places(run.run.record.data.dir for run in self.watch.runs.values() if run.run)

    def faces(self, key: str) -> Faces:
        """A data directory by its key; HTTP's 404 where there is none. Raises FerError where it is damaged."""
        for place in self.places():
            if place.key == key:
                return self.library.open(place)
        raise HTTPException(404, "no such data directory")

    def scored(self) -> list[str]:
        """The names of the runs that are scored."""
        return [name for name, each in self.watch.runs.items() if each.run and each.run.scores("val").is_file()]


def board_of(request: Request) -> Board:
    """The board that a request is for."""
    board: Board = request.app.state.board
    return board
