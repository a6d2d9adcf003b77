"""fer: FER2013 faces from Kaggle's CSV to a trained Caffe network and an honest report.

For notebooks: `fer.open_run("runs/lenet-s2")`, `fer.parse_log("caffe.log")`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer.report.frames import open_run, parse_log

__version__ = "0.1.0"
__all__ = ["__version__", "open_run", "parse_log"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: `import fer`, and so each command, need not wait for pandas.
    if name in ("open_run", "parse_log"):
        from fer.report import frames

        return getattr(frames, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
