"""What Keras itself makes of a picture for each of its bases."""

import keras
import numpy as np

applications = keras.applications
PREPROCESSING = {  # the beginning of a base's name, its family's module; longer names first
    "ConvNeXt": applications.convnext,
    "DenseNet": applications.densenet,
    "EfficientNetV2": applications.efficientnet_v2,
    "EfficientNetB": applications.efficientnet,
    "InceptionResNetV2": applications.inception_resnet_v2,
    "InceptionV3": applications.inception_v3,
    "MobileNetV2": applications.mobilenet_v2,
    "MobileNetV3": applications.mobilenet_v3,
    "MobileNet": applications.mobilenet,
    "NASNet": applications.nasnet,
    "ResNet50V2": applications.resnet_v2,
    "ResNet101V2": applications.resnet_v2,
    "ResNet152V2": applications.resnet_v2,
    "ResNet": applications.resnet,
    "VGG16": applications.vgg16,
    "VGG19": applications.vgg19,
    "Xception": applications.xception,
}


def expected_pixels(name, photos):
    """Return `preprocess_input` of a base's family for photos of levels 0-255."""
    levels = photos.astype(np.float32)
    if name == "efficientnet-lite0":
        return (levels - 127) / 128  # the TPU release
    prefix = next(prefix for prefix in PREPROCESSING if name.startswith(prefix))
    return PREPROCESSING[prefix].preprocess_input(levels.copy())
