"""python -m fer.engines.pytorch: Caffe's command line on PyTorch (see fer/engines/core/tool.py)."""

import sys

from fer.engines.core.tool import main
from fer.engines.pytorch.backend import PyTorch
from fer.engines.pytorch.cpu import set_up_cpu

set_up_cpu()  # here and not in main, which tests call in a process that is theirs
sys.exit(main(PyTorch()))
