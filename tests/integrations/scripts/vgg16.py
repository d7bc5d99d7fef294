"""Transfer learning in the usual two steps: features of a frozen VGG16, then fine-tuning."""

import keras
import numpy as np
from tensorflow.keras.preprocessing.image import ImageDataGenerator

size, batch_size = (48, 48), 4
base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(*size, 3))

datagen = ImageDataGenerator(rescale=1.0 / 255)
generator = datagen.flow_from_directory(
    "data/train", target_size=size, batch_size=batch_size, class_mode=None, shuffle=False
)
features = base.predict(generator, verbose=0)
np.save("features.npy", features)

top = keras.Sequential(
    [
        keras.layers.Flatten(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
top.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
top.fit(np.load("features.npy"), generator.classes, epochs=1, verbose=0)

for layer in base.layers[:15]:
    layer.trainable = False
model = keras.Sequential([base, top])
model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), "binary_crossentropy")
train_datagen = ImageDataGenerator(
    rescale=1.0 / 255,
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=0.2,
    shear_range=0.2,
    zoom_range=0.2,
    horizontal_flip=True,
    fill_mode="nearest",
)
train_generator = train_datagen.flow_from_directory(
    "data/train", target_size=size, batch_size=batch_size, class_mode="binary"
)
test_generator = datagen.flow_from_directory(
    "data/validation", target_size=size, batch_size=batch_size, class_mode="binary", shuffle=False
)
model.fit(train_generator, epochs=1, validation_data=test_generator, verbose=0)
test_generator.reset()
predicted = model.predict(test_generator, steps=len(test_generator), verbose=0)
names = {index: name for name, index in test_generator.class_indices.items()}
guesses = [names[int(p > 0.5)] for p in predicted[:, 0]]

result = {
    "features": features.shape[0],
    "guesses": len(guesses),
    "files": test_generator.filenames,
}
