"""`fusewarp preview`: a contact sheet of photos and their augmentations."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .cli_policy import policy_from_options
from .cli_policy import save_policy as write_policy
from .engine import ArraySource, Augmenter, FolderSource

EXAMPLES = """[bold]Examples[/bold]

fusewarp preview photos/

fusewarp preview cat.jpg --rotation-range 30 --zoom-range 0.7,1.2 --horizontal-flip

fusewarp preview photos/ --brightness-range 0.6,1.4 --save-policy policy.json"""


def policy_option(about: str, metavar: str | None = "R", name: str | None = None) -> Any:
    """Describe an option that is a field of the policy."""
    names = () if name is None else (name,)
    return typer.Option(*names, help=about, metavar=metavar, rich_help_panel=_PANEL)


_PANEL = "Policy (the fields of fusewarp.Policy; ranges and units as in Keras)"
_FACTORS = "LOW,HIGH"
_SHIFT = "Below 1: fraction of the side; from 1 on: pixels."


def preview(
    path: Annotated[Path, typer.Argument(metavar="FOLDER|IMAGE", help="Photos to show.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("preview.png"),
    rows: Annotated[int, typer.Option(min=1, help="Photos, spread over the folder.")] = 6,
    copies: Annotated[int, typer.Option(min=1, help="Augmentations of each photo.")] = 6,
    tile: Annotated[int, typer.Option(min=32, help="Side of a tile, in pixels.")] = 160,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Resize to this square first, as for a model.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other augmentations.")] = 0,
    policy: Annotated[
        Path | None, typer.Option(help="Start from a policy that --save-policy wrote.")
    ] = None,
    save_policy: Annotated[
        Path | None, typer.Option(help="Write the policy, for `fusewarp train --policy`.")
    ] = None,
    rotation_range: Annotated[float | None, policy_option("Degrees, to both sides.")] = None,
    width_shift_range: Annotated[float | None, policy_option(_SHIFT)] = None,
    height_shift_range: Annotated[float | None, policy_option(_SHIFT)] = None,
    shear_range: Annotated[float | None, policy_option("Degrees, to both sides.")] = None,
    zoom_range: Annotated[
        str | None, policy_option("R, or limits; above 1 shrinks.", "R|LOW,HIGH")
    ] = None,
    zoom_keep_aspect: Annotated[
        bool | None, policy_option("One zoom for both sides.", None, "--zoom-keep-aspect")
    ] = None,
    horizontal_flip: Annotated[
        bool | None, policy_option("Half of the pictures.", None, "--horizontal-flip")
    ] = None,
    vertical_flip: Annotated[
        bool | None, policy_option("Half of the pictures.", None, "--vertical-flip")
    ] = None,
    brightness_range: Annotated[
        str | None, policy_option("Limits of the factor.", _FACTORS)
    ] = None,
    contrast_range: Annotated[str | None, policy_option("Limits of the factor.", _FACTORS)] = None,
    saturation_range: Annotated[
        str | None, policy_option("Limits of the factor.", _FACTORS)
    ] = None,
    channel_shift_range: Annotated[float | None, policy_option("Levels, to both sides.")] = None,
    fill_mode: Annotated[
        str | None, policy_option("nearest, constant, reflect, wrap or mirror.", "MODE")
    ] = None,
    cval: Annotated[float | None, policy_option("Level outside, for constant.", "LEVEL")] = None,
    interpolation: Annotated[str | None, policy_option("bilinear or nearest.", "WAY")] = None,
) -> None:
    """Draw a contact sheet: each row one photo, first the original, then its augmentations.

    The captions say what was drawn. With no policy option, the policy of `fusewarp train` is shown;
    with some, only those are in force.
    """
    options = {
        "rotation_range": rotation_range,
        "width_shift_range": width_shift_range,
        "height_shift_range": height_shift_range,
        "shear_range": shear_range,
        "zoom_range": zoom_range,
        "zoom_keep_aspect": zoom_keep_aspect,
        "horizontal_flip": horizontal_flip,
        "vertical_flip": vertical_flip,
        "brightness_range": brightness_range,
        "contrast_range": contrast_range,
        "saturation_range": saturation_range,
        "channel_shift_range": channel_shift_range,
        "fill_mode": fill_mode,
        "cval": cval,
        "interpolation": interpolation,
    }
    chosen = policy_from_options(policy, options)
    source = photos(path)
    augmenter = Augmenter(chosen, size=image_size, seed=seed)
    _draw(source, augmenter, out, rows=rows, copies=copies, tile=tile)
    if save_policy is not None:
        write_policy(chosen, save_policy)
        typer.echo(f"Wrote {save_policy}; use it: fusewarp train FOLDER --policy {save_policy}")


def _draw(source: Any, augmenter: Augmenter, out: Path, **layout: int) -> None:
    from .engine.contact_sheet import contact_sheet

    sample_ids = spread(len(source), layout.pop("rows"))
    sheet = contact_sheet(source, augmenter, sample_ids, **layout)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    typer.echo(f"Wrote {out}: {len(sample_ids)} of {len(source)} photos.")


def spread(num_samples: int, rows: int) -> list[int]:
    """Pick sample ids evenly over a source, so that every class of a folder is seen."""
    rows = min(rows, num_samples)
    return [row * num_samples // rows for row in range(rows)]


class OnePhoto(ArraySource):
    """A single file as a source."""

    def __init__(self, path: Path) -> None:
        from .engine.decode import decode_image

        image = decode_image(path.read_bytes(), str(path))
        super().__init__(image[np.newaxis])
        self._name = path.name

    @property
    def names(self) -> list[str]:
        """The file's name."""
        return [self._name]


def photos(path: Path) -> OnePhoto | FolderSource:
    """Open a file as one photo, or all photos below a folder."""
    return OnePhoto(path) if path.is_file() else FolderSource(path, labelled=False)
