"""`fer prepare`: a source of faces to a data directory that Caffe, OpenCV and people can read.

Three steps: the source is read and checked whole, its pixels laid aside in a scratch file; the audit, the order and
the disk space are settled; then images and databases are written, in parallel, and the directory takes its place.
"""

import importlib.metadata
import os
import platform
import shutil
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import lmdb
import numpy as np

from fer import __version__
from fer.data.affine import draw_moves
from fer.data.audit import Catalog, audit, leaked
from fer.data.classes import CLASSES
from fer.data.dataset import SPLITS, Split
from fer.data.directory import check_made_from, check_replaceable, verify_data
from fer.data.laid_aside import lay_aside
from fer.data.leaks import FINGERPRINTS, write_fingerprints
from fer.data.manifest import (
    MANIFEST,
    ImageSize,
    Manifest,
    Source,
    SplitCounts,
    WrittenFile,
    WrittenFolder,
)
from fer.data.options import PrepareOptions
from fer.data.source import source_sha256, source_state
from fer.data.split_writer import Encoding, Images, write_split, write_votes
from fer.errors import FerError
from fer.formats.database import write_mean
from fer.system.escapes import some_names
from fer.system.files import beside, take_place
from fer.system.hashes import file_hash
from fer.system.progress import StageProgress
from fer.system.records import write_record
from fer.system.workers import Workers

_FER2013_COUNTS = {
    "train": [3995, 436, 4097, 7215, 4830, 3171, 4965],
    "val": [467, 56, 496, 895, 653, 415, 607],
    "test": [491, 55, 528, 879, 594, 416, 626],
}
_OTHER_CLASSES = "Classes that are others, or fewer: --classes A,B,C"
_SCRATCH = "pixels.scratch"
# Below this a source is done before helper processes have started.
_SMALL_SOURCE = 16 << 20
_MAX_HELPERS = 7


@dataclass(frozen=True)
class Outcome:
    """What `prepare` did: the manifest, whether nothing was to be done, and the seconds it took."""

    manifest: Manifest
    up_to_date: bool
    seconds: float


def prepare(
    source: Path,
    out: Path,
    options: PrepareOptions,
    *,
    force: bool = False,
    progress: StageProgress | None = None,
) -> Outcome:
    """Make the data directory `out` from `source`; leave it if it is already what would be made.

    `force` makes it anew then, too, and also where another source, or other options, made it.

    Atomic: until the last step the old `out` stays as it was, and no failure leaves a half-made one. Progress has the
    stages `unpacking` and `reading` (bytes), `decoding` and `writing` (images). Raises FerError for a faulty source, a
    full disk, or when another process is at it; WouldReplaceError where `out` was made otherwise; UsageError for an
    option out of range or without effect.
    """
    started = time.monotonic()
    source, out = Path(source), Path(os.path.abspath(out))  # noqa: PTH100 -- resolve() would follow a symlink at `out`
    options.check()
    before = source_state(source)
    for what, path in (("the source", source), ("--votes", options.votes)):
        if path is not None and Path(path).resolve().is_relative_to(out.parent.resolve() / out.name):
            raise FerError(f"{out}: holds {what} {path}. Choose another --out")
    busy = f"{out}: another `fer prepare` is writing it. Wait for it, or choose another --out"
    with beside(out, busy) as fresh:
        check_replaceable(out)
        if not force:
            manifest = _up_to_date(source, out, options)
            if manifest:
                return Outcome(manifest, True, time.monotonic() - started)
            check_made_from(out, source_sha256(source), options, _votes_file(options))
        manifest = _build(source, fresh, out, options, progress)
        if source_state(source) != before:
            raise FerError(f"{source}: changed while it was read. Run again")
        write_record(fresh / MANIFEST, manifest)
        take_place(fresh, out)
    return Outcome(manifest, False, time.monotonic() - started)


def _up_to_date(source: Path, out: Path, options: PrepareOptions) -> Manifest | None:
    """The manifest of `out` if it is whole and made from this very source with these options."""
    if not (out / MANIFEST).exists():
        return None
    try:
        manifest = verify_data(out)
    except FerError:
        return None
    recorded, state = manifest.source, source_state(source)
    if manifest.options != options or recorded.path != str(source) or recorded.bytes != state.bytes:
        return None
    if manifest.votes and _votes_file(options) != manifest.votes:
        return None
    if recorded.mtime_ns != state.mtime_ns and recorded.sha256 != source_sha256(source):
        return None
    return manifest


def _votes_file(options: PrepareOptions) -> Source | None:
    """The file of votes as it is now, by its contents alone."""
    if options.votes is None:
        return None
    path = Path(options.votes)
    return Source(options.votes, source_sha256(path), source_state(path).bytes, 0)


def _build(source: Path, partial: Path, out: Path, options: PrepareOptions, progress: StageProgress | None) -> Manifest:
    """Write everything but the manifest into `partial`, and return the manifest."""
    scratch = partial / _SCRATCH
    state = source_state(source)
    helpers = 0 if state.bytes < _SMALL_SOURCE else min((os.cpu_count() or 1) - 1, _MAX_HELPERS)
    with Workers(helpers) as workers, ThreadPoolExecutor(1) as hasher:
        digest = hasher.submit(source_sha256, source)
        catalog, in_folders, notes = lay_aside(source, scratch, workers, options, progress)
        shuffled = options.shuffle or in_folders
        keep = ~leaked(catalog) if options.drop_leaks else np.ones(len(catalog.labels), bool)
        notes += _check_splits(source, catalog, keep)
        encoding = Encoding(options.jpeg_quality, options.resize, options.encoded)
        splits = {split: _images(catalog, keep, split, shuffled, options) for split in SPLITS}
        _check_disk(out, sum(map(len, splits.values())), encoding)
        written = _write_splits(partial, scratch, splits, encoding, workers, hasher, progress)
        originals = {split.folder: images.rows[images.copies == 0] for split, images in splits.items()}
        write_fingerprints(partial / FINGERPRINTS, {split: catalog.digests[rows] for split, rows in originals.items()})
        if catalog.targets is not None:
            for split, images in splits.items():
                name = write_votes(partial, split, images, catalog.targets)
                written.files[name] = hasher.submit(_describe, partial / name)
        written.files[FINGERPRINTS] = hasher.submit(_describe, partial / FINGERPRINTS)
        scratch.unlink()
        source_digest = digest.result()
        files = {name: described.result() for name, described in written.files.items()}
    title = _title(source, catalog, options)
    if options.title not in (None, title):
        notes.append(f"all counts are those of FER2013: figures call it so, and not {options.title!r}")
    return Manifest(
        fer_version=__version__,
        source=Source(str(source), source_digest, state.bytes, state.mtime_ns),
        options=options,
        image=ImageSize(1, encoding.side, encoding.side),
        classes=catalog.classes,
        splits={split.folder: _split_counts(images, len(catalog.classes)) for split, images in splits.items()},
        images={split.folder: written.images[split] for split in SPLITS},
        files=files,
        title=title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        shuffled=shuffled,
        audit=audit(catalog),
        dropped=int((~keep).sum()),
        votes=_votes_file(options),
        notes=tuple(note.encode(errors="backslashreplace").decode() for note in notes),
        copies=int((splits[Split.TRAIN].copies > 0).sum()),
        versions=_versions(),
    )


def _split_counts(images: Images, classes: int) -> SplitCounts:
    return SplitCounts(len(images), tuple(np.bincount(images.labels, minlength=classes).tolist()))


def _class_counts(catalog: Catalog, keep: np.ndarray, split: Split) -> list[int]:
    rows = (catalog.splits == SPLITS.index(split)) & keep
    counts: list[int] = np.bincount(catalog.labels[rows], minlength=len(catalog.classes)).tolist()
    return counts


def _check_splits(source: Path, catalog: Catalog, keep: np.ndarray) -> list[str]:
    """Every split must have an image and Training one of each class. Returns a note for what PublicTest and PrivateTest
    have none of. Raises FerError."""
    notes = []
    for split in SPLITS:
        counts = _class_counts(catalog, keep, split)
        if not sum(counts):
            raise FerError(f"{source}: no image with the Usage {split.value}: nothing would be in {split.folder}")
        missing = some_names([name for name, count in zip(catalog.classes, counts, strict=True) if not count])
        if split is Split.TRAIN and missing:
            raise FerError(f"{source}: Training has no image of the class {missing}\n{_OTHER_CLASSES}")
        if missing:
            notes.append(f"{split.value} has no image of the class {missing}")
    return notes


def _check_disk(out: Path, count: int, encoding: Encoding) -> None:
    """Raise FerError unless the new data directory fits beside the old one."""
    needed = count * encoding.bytes_on_disk + (16 << 20)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise FerError(
            f"{out.parent}: {free / 1e6:,.0f} MB free, {needed / 1e6:,.0f} MB needed for {count:,} images.\n"
            "Make room, or write elsewhere with --out"
        )


@dataclass(frozen=True)
class _Written:
    """`images` describes each split's JPG files; `files` has the size and SHA-256 of every other file, as they come."""

    images: dict[Split, WrittenFolder]
    files: dict[str, Future[WrittenFile]]


def _images(catalog: Catalog, keep: np.ndarray, split: Split, shuffled: bool, options: PrepareOptions) -> Images:
    """The images of a split, in the order in which its index and database list them."""
    position = SPLITS.index(split)
    rows = np.flatnonzero((catalog.splits == position) & keep)
    images = Images.plain(rows, catalog.labels[rows])
    if split is Split.TRAIN and options.augment:
        generator = np.random.default_rng([options.seed, len(SPLITS)])
        moves = [draw_moves(options.affine, len(rows), generator) for _ in range(options.augment)]
        images = images.with_copies(np.stack(moves))
        shuffled = True
    return images[np.random.default_rng([options.seed, position]).permutation(len(images))] if shuffled else images


def _write_splits(
    partial: Path,
    scratch: Path,
    splits: dict[Split, Images],
    encoding: Encoding,
    workers: Workers,
    hasher: Executor,
    progress: StageProgress | None,
) -> _Written:
    """Write the splits and the mean; what is finished is hashed on `hasher` while the next is written."""
    written = _Written({}, {})
    done, total = 0, sum(map(len, splits.values()))

    def finish(*names: str) -> None:
        written.files.update({name: hasher.submit(_describe, partial / name) for name in names})

    for split, images in splits.items():

        def report(count: int, before: int = done) -> None:
            if progress:
                progress("writing", before + count, total)

        result = write_split(partial, split, scratch, images, encoding, workers, report)
        written.images[split] = result.images
        finish(f"{split.folder}_lmdb/data.mdb", f"{split.folder}.txt")
        if split is Split.TRAIN:
            # Of what the database holds, copies included, as compute_image_mean would make it.
            write_mean(partial / "mean.binaryproto", result.pixel_sum / len(images))
            finish("mean.binaryproto")
        done += len(images)
    return written


def _describe(path: Path) -> WrittenFile:
    return WrittenFile(file_hash(path), path.stat().st_size)


def _title(source: Path, catalog: Catalog, options: PrepareOptions) -> str:
    """What figures call the data: FER2013 only if every count is FER2013's."""
    if catalog.classes == CLASSES and all(
        catalog.class_counts(split) == _FER2013_COUNTS[split.folder] for split in SPLITS
    ):
        return "FER2013"
    return options.title or source.name


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "lmdb": ".".join(map(str, lmdb.version())),
        "protobuf": importlib.metadata.version("protobuf"),
    }
