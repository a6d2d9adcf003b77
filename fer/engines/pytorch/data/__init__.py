"""Images for the data layers: read once, held on the device, handed out in Caffe's order, transformed as Caffe does."""
