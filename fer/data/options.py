"""What `fer prepare` is asked for, and the ranges that its options may have."""

from dataclasses import dataclass, field

from fer.errors import UsageError

JPEG_QUALITY = (1, 100)
RESIZE = (8, 1024)
MAX_COPIES = 20


@dataclass(frozen=True)
class Affine:
    """How far a copy may be moved, to either side: `rotation` degrees, `shift` as a share of the image's side, and
    `scale` from 1 / (1 + scale) to 1 + scale times as large."""

    rotation: float = 15.0
    shift: float = 0.1
    scale: float = 0.1

    def check(self) -> None:
        """Raise UsageError for a range that cannot be."""
        for name, most in (("rotation", 180), ("shift", 1), ("scale", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"--{name} {getattr(self, name):g}: not from 0 to {most}")


@dataclass(frozen=True)
class PrepareOptions:
    """`resize` is the side of the databases' images; `title` what figures call data that is not FER2013.

    `augment` copies of each Training image, moved by `affine`, lie among them; the order of train is then shuffled.
    """

    jpeg_quality: int = 100
    resize: int | None = None
    encoded: bool = False
    shuffle: bool = False
    seed: int = 0
    drop_leaks: bool = False
    title: str | None = None
    augment: int = 0
    affine: Affine = field(default_factory=Affine)

    def check(self) -> None:
        """Raise UsageError for a value out of range."""
        _check_range("--jpeg-quality", self.jpeg_quality, JPEG_QUALITY)
        if self.resize is not None:
            _check_range("--resize", self.resize, RESIZE)
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: not a whole number from 0")
        _check_range("--augment", self.augment, (0, MAX_COPIES))
        self.affine.check()


def _check_range(name: str, value: int, limits: tuple[int, int]) -> None:
    least, most = limits
    if not least <= value <= most:
        raise UsageError(f"{name} {value}: not from {least} to {most}")
