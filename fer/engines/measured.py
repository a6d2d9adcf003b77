"""Images a second of the PyTorch engine against real Caffe's on the same machine: scripts/README.md."""

TIMES_CAFFE = {"fp32": {"LeNet": 2.23, "AlexNet": 2.47}, "bf16": {"LeNet": 3.08, "AlexNet": 4.32}}
"""By precision, on two cores; Caffe's is fp32."""
TIMES_CAFFE_ON_A_GPU = {"LeNet": 13.1, "AlexNet": 13.2}
"""In fp32, on one H100."""
