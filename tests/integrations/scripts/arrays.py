"""Augmenting a small labelled array: the generator fitted, then a model fitted in two ways."""

import keras
import numpy as np
from tensorflow.keras.preprocessing.image import ImageDataGenerator

x_train = np.random.RandomState(0).uniform(0, 255, (50, 32, 32, 3)).astype("float32")
y_train = keras.utils.to_categorical(np.arange(50) % 10, 10)
datagen = ImageDataGenerator(
    featurewise_center=True,
    featurewise_std_normalization=True,
    rotation_range=20,
    width_shift_range=0.2,
    height_shift_range=0.2,
    horizontal_flip=True,
    validation_split=0.2,
)
datagen.fit(x_train)

model = keras.Sequential(
    [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, activation="softmax")]
)
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
history = model.fit(
    datagen.flow(x_train, y_train, batch_size=8, subset="training"),
    validation_data=datagen.flow(x_train, y_train, batch_size=8, subset="validation"),
    steps_per_epoch=len(x_train) // 10,
    epochs=2,
    verbose=0,
)

seen = 0
for epoch in range(2):
    batches = 0
    for x_batch, y_batch in datagen.flow(x_train, y_train, batch_size=32):
        loss = model.train_on_batch(x_batch, y_batch)
        seen += len(x_batch)
        batches += 1
        if batches >= len(x_train) / 32:
            break

result = {"epochs": len(history.history["val_loss"]), "seen": seen}
