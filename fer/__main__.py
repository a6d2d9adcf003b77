"""`python -m fer`: the same as the `fer` command."""

import sys
from pathlib import Path

# Python puts the current folder first; it holds no code of ours, unless fer is started from its checkout.
if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parent.parent:
    del sys.path[0]

from fer.cli import main

sys.exit(main())
