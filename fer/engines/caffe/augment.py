"""The Python layer `Augment` for real Caffe: training images turned, shifted, scaled, brightened, erased in part.

    layer { name: "augment" type: "Python" bottom: "data" top: "data" include { phase: TRAIN }
      python_param { module: "augment" layer: "Augment" param_str: "rotation: 15, shift: 0.1, scale: 0.1, seed: 1" } }

What param_str may say: augmentation.py, which lies beside this file. Caffe finds both in PYTHONPATH; `fer` sees to it.
In the TEST phase images pass as they are. What is drawn depends on the seeds and the number of the pass alone.
"""

import os

import augmentation
import caffe
import numpy as np


class Augment(caffe.Layer):
    """Images [B, C, H, W] as the data layer gives them; no gradient flows down."""

    run_seed = int(os.environ.get(augmentation.RUN_SEED) or 0)
    """The solver's random_seed, which a layer cannot see: the worker sets it; in a `caffe` it is in the environment."""

    def setup(self, bottom, top):
        if len(bottom) != 1 or len(top) != 1:
            raise ValueError("Augment takes 1 bottom and 1 top, not %d and %d" % (len(bottom), len(top)))
        if len(bottom[0].shape) != 4:
            raise ValueError("Augment takes images [B, C, H, W], not a bottom of shape %s" % list(bottom[0].shape))
        self.ranges = augmentation.parse(self.param_str)
        self.passes = 0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        images = bottom[0].data
        if self.phase == caffe.TRAIN:
            generator = np.random.RandomState([self.run_seed, self.ranges.seed, self.passes])
            images = augmentation.apply(images, self.ranges, *augmentation.draw(generator, images.shape, self.ranges))
            self.passes += 1
        top[0].data[...] = images

    def backward(self, top, propagate_down, bottom):
        pass

    def seek(self, passes):
        """Go on where a run that made so many passes would."""
        self.passes = passes
