"""python -m fer.engines.pytorch"""

import sys

from fer.engines.pytorch.cpu import set_up_cpu
from fer.engines.pytorch.tool import main

set_up_cpu()  # here and not in main, which tests call in a process that is theirs
sys.exit(main())
