"""A training made elsewhere, by any Caffe, as a run directory."""
