"""Caffe's layer types as layers of Keras, a module a family; the registry imports every module of this folder."""
