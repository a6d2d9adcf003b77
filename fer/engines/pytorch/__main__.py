"""python -m fer.engines.pytorch"""

import sys

import torch

from fer.engines.pytorch.tool import main

# A falling rate leaves histories of denormal numbers, which a CPU adds a hundred times slower; threads inherit this.
torch.set_flush_denormal(True)
sys.exit(main())
