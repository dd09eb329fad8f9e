"""Train two classifiers with image labels alone, which differ in their pooling: GAP and GMP."""

import wsol
from wsol.data.readers.synthetic import synthetic
from wsol.networks.backbones.small_cnn import small_cnn

splits = synthetic(image_size=32, num_classes=3, train_images=60, val_images=12, test_images=24)
for pooling in (wsol.GAP(), wsol.GMP()):
    classifier = wsol.Classifier(small_cnn(channels=(8, 16)), pooling, splits.num_classes)
    history = wsol.train(classifier, splits.train, wsol.TrainSettings(epochs=2), seed=0, image_size=32)
    print(f"{type(pooling).__name__}: loss {history[-1]['loss']:.2f}, accuracy {history[-1]['accuracy']:.2f}")
