"""Caffe's layers that Keras has none of, as layers of Keras: import this package before a saved model is loaded.

They take images as [N, H, W, C] and every other blob as Caffe has it. Their keywords are their annotated attributes.
"""
