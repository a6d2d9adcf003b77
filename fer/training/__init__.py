"""A training from its checks to its end: the run's prototxts, the engine watched over, early stopping, averages."""
