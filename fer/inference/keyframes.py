"""Faces of a video's frames: looked for in some of them, and placed in those between where both sides agree."""

from collections.abc import Iterable, Iterator, Sequence

from fer.inference.faces import Box, Detector, Frame, Picture, Place, overlap

APART = 0.2
"""Frames that are looked at are so many seconds apart at most, and MOST frames."""
MOST = 8
SAME = 0.5
"""The least intersection over union of a face's boxes in two such frames."""


def located(pictures: Iterable[Picture], detect: Detector) -> Iterator[tuple[Picture, list[Place]]]:
    """Each picture with its faces, as `detect` finds them: those of photos, and those of key frames.

    Where two key frames show the same faces, close to where they were, those of the frames between lie on the way, and
    have no score. Else the middle one is looked at too, and so on: after a cut, or of a face that comes, goes or moves
    fast, no frame is left out.
    """
    before: list[Place] | None = None
    waiting: list[Picture] = []
    for picture in pictures:
        if picture.frame is None or before is None:
            before = detect(picture)
            yield picture, before
            continue
        waiting.append(picture)
        if len(waiting) >= min(MOST, round(APART * picture.rate)):
            yield from (found := _looked_through(before, waiting, detect))
            before, waiting = found[-1][1], []
    if before is not None and waiting:
        yield from _looked_through(before, waiting, detect)


def _looked_through(
    before: list[Place], pictures: Sequence[Picture], detect: Detector
) -> list[tuple[Picture, list[Place]]]:
    """The pictures after a frame with the faces `before`, the last of which is a key frame."""
    *between, last = pictures
    after = detect(last)
    return [*zip(between, _between(before, after, between, detect), strict=True), (last, after)]


def _between(
    before: list[Place], after: list[Place], pictures: Sequence[Picture], detect: Detector
) -> list[list[Place]]:
    if not pictures:
        return []
    if (pairs := _pairs(before, after)) is not None:
        steps = len(pictures) + 1
        return [[_on_the_way(*pair, step / steps) for pair in pairs] for step in range(1, steps)]
    middle = len(pictures) // 2
    seen = detect(pictures[middle])
    return [
        *_between(before, seen, pictures[:middle], detect),
        seen,
        *_between(seen, after, pictures[middle + 1 :], detect),
    ]


def _pairs(before: list[Place], after: list[Place]) -> list[tuple[Place, Place]] | None:
    """The faces of two frames, or None where they are not the same ones."""
    left, pairs = list(after), []
    for place in before:
        nearest = max(left, key=lambda other: overlap(place.box, other.box), default=None)
        if nearest is None or overlap(place.box, nearest.box) < SAME:
            return None
        left.remove(nearest)
        pairs.append((place, nearest))
    return None if left else pairs


def _on_the_way(one: Place, other: Place, share: float) -> Place:
    def at(start: float, end: float) -> float:
        return start + share * (end - start)

    a, b = one.box, other.box
    left, top = round(at(a.x, b.x)), round(at(a.y, b.y))
    right, bottom = round(at(a.x + a.width, b.x + b.width)), round(at(a.y + a.height, b.y + b.height))
    frame = None
    if (c := one.frame) and (d := other.frame):
        turn = (d.angle - c.angle + 180) % 360 - 180
        frame = Frame(at(c.x, d.x), at(c.y, d.y), at(c.side, d.side), c.angle + share * turn)
    return Place(Box(left, top, right - left, bottom - top), None, frame)
