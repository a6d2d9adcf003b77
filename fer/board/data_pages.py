"""Data: the faces by split and class, what the audit found, and what a scored run said of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from fer.board.answers import Answers, read_answers
from fer.board.board import board_of
from fer.board.library import Faces
from fer.data.dataset import SPLIT_NAMES
from fer.data.image_file import is_image_name

PER_PAGE = 120
GROUPS_PER_PAGE = 40
FINDINGS = {
    "duplicates": "groups of equal images",
    "conflicts": "equal images with conflicting labels",
    "leaks": "equal images in more than one split",
    "blanks": "blank images",
}


@dataclass(frozen=True)
class Part:
    """A page's share of a list: `number` counts from 1, `pages` is how many there are, `total` of how many things."""

    items: Sequence[Any]
    number: int
    pages: int
    total: int


def part_of(items: Sequence[Any], asked: str, size: int) -> Part:
    """The part that is asked for by its number, or the nearest there is."""
    pages = max(-(-len(items) // size), 1)
    number = min(max(int(asked), 1), pages) if asked.isdecimal() and len(asked) < 10 else 1
    return Part(items[(number - 1) * size : number * size], number, pages, len(items))


def data_page(request: Request) -> Response:
    """?dir=KEY&split=train&class=3&page=2, or ?dir=KEY&show=conflicts&page=2."""
    board, query = board_of(request), request.query_params
    places = board.places()
    if not places:
        return board.page("data.html.j2", data=None)
    key = query.get("dir", places[0].key)
    data, show = board.faces(key), query.get("show", "")
    split = query.get("split", next(iter(data.manifest.splits)))
    there = data.index(split)
    known = _class(query.get("class", ""), len(data.manifest.classes))
    label = "" if show in FINDINGS or known is None else str(known)
    items: Sequence[Any]
    if show in FINDINGS:
        items, size = getattr(data.suspects, show), GROUPS_PER_PAGE
    else:
        items, size = [face for face in there if not label or str(face.label) == label], PER_PAGE
    return board.page(
        "data.html.j2",
        places=places,
        data=data,
        findings=FINDINGS,
        show=show if show in FINDINGS else "",
        split=split,
        split_names=SPLIT_NAMES,
        label=label,
        part=part_of(items, query.get("page", ""), size),
    )


def answers_page(request: Request) -> Response:
    """?run=NAME&split=val&true=3&predicted=5&order=sure&page=2: a run's answers, by a cell of its confusion matrix."""
    board, query = board_of(request), request.query_params
    scored = board.scored()
    name, split = query.get("run", scored[0] if scored else ""), query.get("split", "val")
    if not name:
        return board.page("answers.html.j2", scored=[], answers=None)
    _, run = board.run(name)
    if split not in ("val", "test"):
        raise HTTPException(404, "the splits that runs are scored on are val and test")
    answers: Answers = read_answers(run, split)
    true, predicted = (_class(query.get(side, ""), len(answers.classes)) for side in ("true", "predicted"))
    rows = answers.of(true, predicted, sure_first=query.get("order", "sure") == "sure")
    place = next((each for each in board.places() if each.path == answers.data_dir), None)
    return board.page(
        "answers.html.j2",
        scored=scored,
        name=name,
        split=split,
        splits={each: SPLIT_NAMES[each] for each in ("val", "test") if run.scores(each).is_file()},
        answers=answers,
        of=true,
        called=predicted,
        order=query.get("order", "sure"),
        part=part_of(rows, query.get("page", ""), PER_PAGE),
        place=place,
    )


def _class(text: str, count: int) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 4 and int(text) < count else None


def image(request: Request) -> Response:
    """A face of a data directory, by its name in the index."""
    board, params = board_of(request), request.path_params
    data: Faces = board.faces(params["key"])
    path = data.image(params["split"], params["name"])
    if path is None or not is_image_name(path.name):
        raise HTTPException(404, "no such image in the data directory")
    return FileResponse(path, headers={"Cache-Control": "private, max-age=600"})
