"""Verbs of an engine's command line besides `train`: the `caffe` tool's, and those that `fer` asks for."""
