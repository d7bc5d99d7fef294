"""A small network trained on folders of cats and dogs, with a validation folder."""

import keras
from tensorflow.keras.preprocessing.image import ImageDataGenerator

train_datagen = ImageDataGenerator(
    rescale=1.0 / 255, shear_range=0.2, zoom_range=0.2, horizontal_flip=True
)
test_datagen = ImageDataGenerator(rescale=1.0 / 255)
train_generator = train_datagen.flow_from_directory(
    "data/train", target_size=(50, 50), batch_size=4, class_mode="binary"
)
validation_generator = test_datagen.flow_from_directory(
    "data/validation", target_size=(50, 50), batch_size=4, class_mode="binary"
)

model = keras.Sequential(
    [
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
history = model.fit(
    train_generator,
    steps_per_epoch=train_generator.samples // train_generator.batch_size,
    epochs=2,
    validation_data=validation_generator,
    validation_steps=validation_generator.samples // validation_generator.batch_size,
    class_weight={0: 1.0, 1: 2.0},
    verbose=0,
)
score = model.evaluate(validation_generator, verbose=0)
model.save_weights("first_try.weights.h5")

result = {
    "epochs": len(history.history["val_accuracy"]),
    "classes": train_generator.class_indices,
    "scores": len(score),
}
