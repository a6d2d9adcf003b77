"""fer: FER2013 faces from Kaggle's CSV to a trained Caffe network and an honest report."""

__version__ = "0.1.0"
