"""Faces followed from frame to frame of a video, and their probabilities smoothed."""

import dataclasses
import math
from collections.abc import Iterable, Iterator

from fer.inference.faces import Box, overlap
from fer.inference.predict import Face, Failure, Result

SAME = 0.3
"""The least intersection over union of one face's boxes in frames that follow each other."""
FORGOTTEN = 0.5
"""After so many seconds out of sight a face is another one; in the frame after it is the same."""


@dataclasses.dataclass
class _Track:
    number: int
    box: Box
    seconds: float
    probabilities: dict[str, float]


def follow(results: Iterable[Result | Failure], smooth: float = 0.0) -> Iterator[Result | Failure]:
    """The results with the faces of videos numbered from 1 in each: a face keeps its number from frame to frame.

    Boxes of two frames are of one face where they overlap most (see SAME). The probabilities of a face become means
    over its last frames, weighted exponentially with the time constant `smooth` in seconds; 0 leaves them alone.
    """
    tracks: list[_Track] = []
    source, last, before = None, 0, 0.0
    for result in results:
        if isinstance(result, Failure) or result.picture.frame is None:
            yield result
            continue
        if result.source is not source:
            source, tracks, last, before = result.source, [], 0, 0.0
        now = result.picture.seconds
        tracks = [track for track in tracks if track.seconds >= min(before, now - FORGOTTEN)]
        before = now
        matched = _matches(tracks, result.faces)
        faces = []
        for index, face in enumerate(result.faces):
            track = matched.get(index)
            if track is None:
                last += 1
                track = _Track(last, face.box, now, face.probabilities)
                tracks.append(track)
            elif smooth:
                old = math.exp((track.seconds - now) / smooth)
                track.probabilities = {
                    name: old * track.probabilities[name] + (1 - old) * new for name, new in face.probabilities.items()
                }
            else:
                track.probabilities = face.probabilities
            track.box, track.seconds = face.box, now
            faces.append(dataclasses.replace(face, track=track.number, probabilities=track.probabilities))
        yield dataclasses.replace(result, faces=faces)


def _matches(tracks: list[_Track], faces: list[Face]) -> dict[int, _Track]:
    """The track of each face by its index: pairs that overlap most first, each track and face in one of them."""
    pairs = [
        (overlap(track.box, face.box), number, index)
        for number, track in enumerate(tracks)
        for index, face in enumerate(faces)
    ]
    found: dict[int, _Track] = {}
    taken: set[int] = set()
    for share, number, index in sorted(pairs, key=lambda pair: -pair[0]):
        if share >= SAME and number not in taken and index not in found:
            found[index] = tracks[number]
            taken.add(number)
    return found
