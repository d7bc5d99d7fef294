"""A comparison is worth something only if its rows do the same work."""

import cv2
import numpy as np
from warp_cases import COUNT, POLICY, SIDE, make_images, opencv_maps

from fusewarp import Augmenter


def test_opencv_is_given_the_same_maps():
    images = make_images()[:8]
    augmenter = Augmenter(POLICY.replace(rescale=None))
    ours = augmenter.apply(images, np.arange(8))
    plan = augmenter.plan(np.arange(8), 0, size=(SIDE, SIDE), channels=3, source_dtype=np.uint8)
    maps = opencv_maps(plan.inverse_maps(slice(None), (SIDE, SIDE)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for image, inverse_map, row in zip(images, maps, ours, strict=True):
        theirs = cv2.warpAffine(
            image, inverse_map, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        assert np.abs(theirs - row).mean() < 0.6  # OpenCV rounds to whole levels


def test_the_pictures_differ():
    images = make_images()
    assert len({image.tobytes() for image in images}) == COUNT
