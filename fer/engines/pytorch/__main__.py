"""python -m fer.engines.pytorch"""

import sys

from fer.engines.pytorch.tool import main

sys.exit(main())
