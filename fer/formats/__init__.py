"""Caffe's files, and nothing else reads or writes them: prototxt, caffemodel, LMDB, mean, log."""
