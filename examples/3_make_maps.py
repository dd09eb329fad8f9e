"""Make the maps of several methods for a whole split, from one forward pass for each image."""

import wsol
from wsol.data.readers.synthetic import synthetic
from wsol.networks.backbones.small_cnn import small_cnn

splits = synthetic(image_size=32, num_classes=3, train_images=12, val_images=12, test_images=24)
classifier = wsol.Classifier(small_cnn(channels=(8, 16)), wsol.GAP(), splits.num_classes)
methods = {"cam": wsol.CAM(), "grad_cam": wsol.GradCAM(), "grad_cam_pp": wsol.GradCAMPlusPlus()}
predictions, maps = wsol.make_maps(classifier, splits.test, methods)

print(f"top-1 accuracy {(predictions['class_rank'] == 0).mean():.2f}")
for name, stored in maps.items():
    print(f"{name}: {len(stored.image_ids)} maps of {stored.read(0).shape} cells")
