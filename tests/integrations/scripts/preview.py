"""Twenty variations of one photo, written to a folder to be looked at."""

import os

from tensorflow.keras.preprocessing.image import ImageDataGenerator, img_to_array, load_img

datagen = ImageDataGenerator(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=0.2,
    shear_range=0.2,
    zoom_range=0.2,
    horizontal_flip=True,
    fill_mode="nearest",
)
img = load_img("data/train/cats/0.jpg", target_size=(40, 60))
x = img_to_array(img)
x = x.reshape((1,) + x.shape)
os.makedirs("preview", exist_ok=True)
i = 0
for batch in datagen.flow(
    x, batch_size=1, save_to_dir="preview", save_prefix="cat", save_format="jpeg"
):
    i += 1
    if i > 20:
        break

result = {"shape": x.shape, "files": 0 < len(os.listdir("preview")) <= 21}
