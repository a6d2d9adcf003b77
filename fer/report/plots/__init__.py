"""The report's figures, one look: titles name the net, the split and the data.

Every function takes computed values and a title, draws on `ax` where that makes sense, and returns the Figure; none
reads or saves a file. `look.render` turns a Figure into the bytes of a PNG or SVG, equal figures into equal bytes.
"""

import contextlib
from pathlib import Path

# It reads a matplotlibrc of the current folder as it is imported, whoever put it there; no figure here goes by one.
with contextlib.chdir(Path(__file__).parent):
    import matplotlib as matplotlib
