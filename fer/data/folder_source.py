"""Class folders as Kaggle ships FER2013 (`train/angry/*.jpg`, `test/...`): names to labels, files to faces."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from fer.data.classes import ClassTable
from fer.data.dataset import SIDE, SPLITS, Batch, Split, make_batch
from fer.data.folder_layout import Place, lay_out
from fer.data.image_file import decode_image, face_of, is_image_name
from fer.errors import FerError
from fer.formats.image_header import has_more_frames
from fer.system.escapes import some_names
from fer.system.plural import counted
from fer.system.progress import StageProgress
from fer.system.workers import Workers

_FOLDERS = {Split.TRAIN: "train", Split.VAL: "validation", Split.TEST: "test"}
_BATCH = 64
_BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class _Decoded:
    """A batch, the (width, height) that its images had, and how many of their files have more frames or pages."""

    batch: Batch
    sizes: Counter[tuple[int, int]]
    more_frames: int


class ClassFolders:
    """The images of a source that are in class folders, of `names` (relative, with `/`) of files.

    Other sizes and colour become gray 48 x 48. Where the source has a validation folder or a test folder alone, its
    files named `PublicTest_*` are val and `PrivateTest_*` test; else a half of each class, drawn by `seed`, is val.
    `given` are the classes, or None (see `lay_out`); not `divided`, the source has no splits, and all images are train.
    `classes` are their names; `notes` says what was left out and done; it is complete when all was read. Raises
    FerError that names the file.
    """

    def __init__(
        self, names: Sequence[str], source: str, seed: int, given: ClassTable | None = None, *, divided: bool = True
    ):
        self.source = source
        self.notes: list[str] = []
        images = [name for name in names if is_image_name(name)]
        self._note_others([name for name in names if not is_image_name(name)])
        if not images:
            raise FerError("\n".join([f"{source}: no image that is read in it", *self.notes][:3]))
        layout = lay_out(images, source, given, divided=divided)
        self.classes = layout.table.names
        if layout.own:
            self.notes.append(f"classes by folder name: {some_names(self.classes)} (--classes sets an order)")
        if layout.beside:
            beside = f"{_images(len(layout.beside))} ({some(layout.beside)})"
            self.notes.append(f"left out, as beside the class folders: {beside}")
        self._note_copies(layout.places)
        self._places = self._with_both_tests(layout.places, seed) if divided else layout.places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def names(self) -> list[str]:
        """Of the files that are read, in order."""
        return [place.name for place in self._places]

    def read(
        self, read: Callable[[str], bytes], workers: Workers, progress: StageProgress | None = None
    ) -> Iterator[Batch]:
        """The faces in the order of the names; `read` gives a file's bytes. Progress has the stage `decoding`."""

        def files() -> Iterator[list[tuple[Place, bytes]]]:
            batch: list[tuple[Place, bytes]] = []
            for place in self._places:
                batch.append((place, _read_file(read, place.name, self.source)))
                if len(batch) == _BATCH or sum(len(file) for _, file in batch) > _BATCH_BYTES:
                    yield batch
                    batch = []
            if batch:
                yield batch

        sizes, more_frames, done = Counter[tuple[int, int]](), 0, 0
        for decoded in workers.map(partial(_decode_batch, self.source), files()):
            sizes += decoded.sizes
            more_frames += decoded.more_frames
            done += len(decoded.batch)
            if progress:
                progress("decoding", done, len(self))
            yield decoded.batch
        self._note_sizes(sizes)
        if more_frames:
            self.notes.append(f"{_images(more_frames)} with several frames or pages: the first of each was taken")

    def _note_others(self, names: list[str]) -> None:
        if names:
            endings = Counter(PurePosixPath(name).suffix.lower() or "without an ending" for name in names)
            kinds = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(8))
            self.notes.append(f"left out, as OpenCV reads no such files: {kinds} ({some(names, 1)})")

    def _note_copies(self, places: Sequence[Place]) -> None:
        """Kaggle's archives hold some data sets twice, as images/train and images/images/train."""
        folders: dict[tuple[Split, int, str], set[str]] = {}
        for place in places:
            path = PurePosixPath(place.name)
            folders.setdefault((place.split, place.label, path.name), set()).add(str(path.parent))
        twice = [sorted(parents) for parents in folders.values() if len(parents) > 1]
        if twice:
            where = " and ".join(twice[0][:2])
            self.notes.append(f"{_images(len(twice))} of the same name in several folders, all were read: {where}")

    def _note_sizes(self, sizes: Counter[tuple[int, int]]) -> None:
        others = {size: count for size, count in sizes.items() if size != (SIDE, SIDE)}
        if not others:
            return
        (width, height), _ = Counter(others).most_common(1)[0]
        squeezed = sum(count for (width, height), count in others.items() if width != height)
        bent = f", {squeezed:,} of them squeezed to squares" if squeezed else ""
        usual = f"most often from {width} x {height}" if len(others) > 1 else f"from {width} x {height}"
        self.notes.append(f"{_images(sum(others.values()))} resized to {SIDE} x {SIDE}, {usual}{bent}")

    def _with_both_tests(self, places: list[Place], seed: int) -> list[Place]:
        """`places` with a half of test in val, or of val in test, where the source has only one of the two."""
        present = {place.split for place in places}
        missing = [_FOLDERS[split] for split in SPLITS if split not in present]
        if Split.TRAIN not in present or len(present) == 1:
            raise FerError(
                f"{self.source}: no folder {' and no folder '.join(missing)} with images\n"
                "Wanted are train and one of validation and test at least; where one is missing the other is halved"
            )
        self._check_classes(places)
        if not missing:
            return places
        (whole,) = present - {Split.TRAIN}
        rows = [row for row, place in enumerate(places) if place.split is whole]
        prefixes = {row: PurePosixPath(places[row].name).name.lower().split("_")[0] for row in rows}
        if set(prefixes.values()) == {"publictest", "privatetest"}:
            chosen = {row for row in rows if prefixes[row] == "publictest"}
            how = "by its files' names"
        else:
            chosen = self._half(places, rows, seed)
            how = f"by class, drawn with seed {seed}"
        self.notes.append(
            f"no folder {missing[0]}: {_FOLDERS[whole]} was halved {how}: "
            f"{counted(len(chosen), 'image')} in val, {len(rows) - len(chosen):,} in test"
        )
        other = {row: Split.VAL if row in chosen else Split.TEST for row in rows}
        return [replace(place, split=other.get(row, place.split)) for row, place in enumerate(places)]

    def _half(self, places: list[Place], rows: list[int], seed: int) -> set[int]:
        chosen: set[int] = set()
        generator = np.random.default_rng(seed)
        for label, name in enumerate(self.classes):
            # Sorted by name, so that the halves do not depend on the order in an archive.
            of_class = sorted((row for row in rows if places[row].label == label), key=lambda row: places[row].name)
            if len(of_class) < 2:
                raise FerError(
                    f"{self.source}: {_FOLDERS[places[rows[0]].split]} has one image of {name}: too few to share, "
                    "as it is to be halved into val and test"
                )
            chosen.update(of_class[i] for i in generator.permutation(len(of_class))[: len(of_class) // 2])
        return chosen

    def _check_classes(self, places: Sequence[Place]) -> None:
        for split in SPLITS:
            present = {place.label for place in places if place.split is split}
            missing = [name for label, name in enumerate(self.classes) if label not in present]
            if missing and present:
                raise FerError(f"{self.source}: {split.folder} has no image of the class {some_names(missing)}")


def some(names: Sequence[str], count: int = 3) -> str:
    """The first of the names."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _images(count: int) -> str:
    return f"{count:,} image" + ("s" if count != 1 else "")


def _read_file(read: Callable[[str], bytes], name: str, source: str) -> bytes:
    try:
        return read(name)
    except OSError as error:
        raise FerError(f"{source}/{name}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise FerError(f"{source}/{name}: {error}") from None


def _decode_batch(source: str, files: list[tuple[Place, bytes]]) -> _Decoded:
    pixels = np.empty((len(files), SIDE, SIDE), np.uint8)
    sizes = Counter[tuple[int, int]]()
    for row, (place, file) in enumerate(files):
        try:
            image = decode_image(file)
        except ValueError as error:
            raise FerError(f"{source}/{place.name}: {error}") from None
        sizes[image.shape[1], image.shape[0]] += 1
        pixels[row] = face_of(image)
    splits = np.array([SPLITS.index(place.split) for place, _ in files], np.uint8)
    batch = make_batch(splits, np.array([place.label for place, _ in files], np.uint8), pixels)
    return _Decoded(batch, sizes, sum(has_more_frames(file) for _, file in files))
