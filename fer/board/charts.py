"""uPlot, the library that draws the curves: its two files as the package youplot holds them, checked by their hashes.

The package itself is never imported.
"""

import importlib.util
from pathlib import Path

from fer.system.hashes import check_file
from fer.system.shell import pip_install

PACKAGE = "youplot"
FILES = {
    "uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""uPlot 1.6.31's, as its author published them, with their SHA-256."""


def chart_files() -> dict[str, Path]:
    """Each of FILES and where it lies. Raises FerError where one is missing or another."""
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "vendor" if spec and spec.origin else Path(PACKAGE)
    paths = {name: folder / name for name in FILES}
    for name, path in paths.items():
        check_file(path, FILES[name], "uPlot was published", pip_install("--force-reinstall", f"{PACKAGE}==1.0.0"))
    return paths
