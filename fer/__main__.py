"""`python -m fer`: the same as the `fer` command."""

import sys

from fer.cli import main

sys.exit(main())
