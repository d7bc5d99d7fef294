"""Real pictures for trying a model out: the user's, or cut out of the run's contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..engine.contact_sheet import GAP, HEADING, MARGIN
from ..engine.decode import decode_image
from .keras.run_folder import CONTACT_SHEET

TILE, MOST = 160, 8  # of a contact sheet; tiles that are cut out


def pictures_of(run_path: Path, photos: Sequence[Path] = ()) -> list[NDArray[np.uint8]]:
    """Return a few pictures.

    Parameters
    ----------
    run_path : Path
        A run folder, or the model in it.
    photos : sequence of Path
        Files to be taken instead of the contact sheet's.

    Returns
    -------
    list of (height, width, 3) uint8

    Raises
    ------
    FileNotFoundError
        If a photo is not there, or there is neither a photo nor a contact sheet.
    SampleError
        If a picture cannot be decoded.
    """
    for photo in photos:
        if not photo.is_file():
            raise FileNotFoundError(f"There is no picture {photo}.")
    if photos:
        return [decode_image(photo.read_bytes(), str(photo)) for photo in photos]
    sheet = (run_path if run_path.is_dir() else run_path.parent) / CONTACT_SHEET
    if not sheet.is_file():
        raise FileNotFoundError(
            f"There is no {sheet} to take pictures from; give some with --photo FILE."
        )
    pixels = decode_image(sheet.read_bytes(), str(sheet))
    upper, step = MARGIN + HEADING, TILE + GAP
    lefts = range(MARGIN, pixels.shape[1] - TILE, step)[:MOST]
    return [np.ascontiguousarray(pixels[upper : upper + TILE, x : x + TILE]) for x in lefts]
