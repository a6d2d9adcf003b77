"""Caffe's nets and solvers on TensorFlow: a process like the Caffe worker, `python -m fer.engines.tensorflow`.

model.py makes a Keras model of a Caffe net for whoever goes on in Keras.
"""
