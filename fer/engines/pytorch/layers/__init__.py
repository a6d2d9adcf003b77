"""Caffe's layer types, a module a family; `registry.create` imports every module of this folder."""
