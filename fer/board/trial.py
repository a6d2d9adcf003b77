"""Try: the faces of a photo or of the webcam's frames, by a model that is at hand, and what it looks at."""

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fer.board.board import Board, board_of
from fer.inference.media import UnreadableError

MAX_BYTES = 20_000_000


def try_page(request: Request) -> Response:
    """The page."""
    board = board_of(request)
    board.watch.refresh()
    asked = request.query_params.get("model", "")
    return board.page("try.html.j2", models=board.scored(), asked=asked, most=MAX_BYTES)


async def faces(request: Request) -> Response:
    """?model=NAME&cropped=1 with an image file as the body: its faces, with each class's probability."""
    board, query = board_of(request), request.query_params
    model, photo = await run_in_threadpool(_model, board, query.get("model", "")), await _body(request)
    try:
        found = await run_in_threadpool(board.models.faces, model, photo, cropped="cropped" in query)
    except UnreadableError as error:
        raise HTTPException(422, str(error)) from None
    return JSONResponse(found)


async def explanation(request: Request) -> Response:
    """?model=NAME&class=C with a face's image, as `faces` gave it, as the body: its map."""
    board, query = board_of(request), request.query_params
    model, face = await run_in_threadpool(_model, board, query.get("model", "")), await _body(request)
    try:
        found = await run_in_threadpool(board.models.explanation, model, face, query.get("class", ""))
    except UnreadableError as error:
        raise HTTPException(422, str(error)) from None
    return JSONResponse(found)


def _model(board: Board, name: str) -> Path | None:
    """The directory of the run of that name; None for the model that ships. In a thread, as it looks at the runs."""
    return board.run(name)[1].dir if name else None


async def _body(request: Request) -> bytes:
    """What is uploaded, in memory; HTTP's 413 as soon as it is too much."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise HTTPException(413, f"more than {MAX_BYTES // 1_000_000} MB; a smaller photo is enough")
    return b"".join(parts)
