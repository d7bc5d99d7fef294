"""Images and their masks, augmented alike by two generators with one seed."""

import keras
import numpy as np
from tensorflow.keras.preprocessing.image import ImageDataGenerator

data_gen_args = dict(
    featurewise_center=True,
    featurewise_std_normalization=True,
    rotation_range=90,
    width_shift_range=0.1,
    height_shift_range=0.1,
    zoom_range=0.2,
)
image_datagen = ImageDataGenerator(**data_gen_args)
mask_datagen = ImageDataGenerator(**data_gen_args)
images = np.random.RandomState(0).uniform(0, 255, (12, 24, 24, 3))
seed = 1
image_datagen.fit(images, augment=True, seed=seed)
mask_datagen.fit(images, augment=True, seed=seed)
image_generator = image_datagen.flow_from_directory(
    "data/train", target_size=(24, 24), class_mode=None, seed=seed, batch_size=4
)
mask_generator = mask_datagen.flow_from_directory(
    "data/train", target_size=(24, 24), class_mode=None, seed=seed, batch_size=4
)
train_generator = (pair for pair in zip(image_generator, mask_generator))

model = keras.Sequential([keras.layers.Conv2D(3, 3, padding="same")])
model.compile("sgd", "mse")
model.fit(train_generator, steps_per_epoch=3, epochs=2, verbose=0)
image, mask = next(train_generator)

result = {"alike": bool((image == mask).all())}
