"""Caffe's nets and solvers on PyTorch: a process like the Caffe worker, `python -m fer.engines.pytorch VERB ...`."""
