"""Caffe's layer types but for their arithmetic: the bottoms, shapes and parameters of each, and what it refuses.

A framework's layer of a type is a class of one of these and of the framework's own `Layer`, which adds `forward`.
"""
