"""What the user asks for: ranges and constants, checked once, frozen, serialisable."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

FillMode = Literal["nearest", "constant", "reflect", "wrap", "mirror"]
Interpolation = Literal["bilinear", "nearest"]
Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Random ranges of an augmentation and the constants of its output.

    The geometric names and units are those of Keras' `ImageDataGenerator`. The picture is flipped,
    sheared, rotated and zoomed about its centre, then moved, in one resampling; the colour steps
    are one matrix applied in the same pass.

    Parameters
    ----------
    rotation_range : float
        Degrees, 0 to 360: the angle is uniform in [-r, r). Positive turns counter-clockwise.
    width_shift_range, height_shift_range : float
        Uniform in [-r, r): below 1 a fraction of the output's side, from 1 on pixels.
        Positive moves the content right / down.
    shear_range : float
        Degrees, 0 to below 90, uniform in [-r, r). Positive moves the rows below the centre right.
    zoom_range : float or (low, high)
        Coordinate scale as in Keras: above 1 shrinks the content, below 1 enlarges it. A number
        z < 1 stands for (1 - z, 1 + z). Rows and columns are drawn independently.
    zoom_keep_aspect : bool
        Draw one zoom for both axes.
    horizontal_flip, vertical_flip : bool
        Mirror left-right / top-bottom with probability 1/2.
    brightness_range, contrast_range, saturation_range : (low, high), optional
        Factors, at least 0. Brightness multiplies; contrast scales about mid-grey (half of the
        integer type's largest value; 127.5 for float pictures); saturation scales the distance
        from the pixel's own grey (Rec. 601 luma). A fourth channel is alpha and keeps its value.
    channel_shift_range : float
        Source levels, uniform in [-r, r); one value for all colour channels of a picture.
    rescale : float, optional
        Output = source * rescale, after the colour steps.
    mean, std : float or one per channel, optional
        Output = (rescaled - mean) / std.
    fill_mode : {"nearest", "constant", "reflect", "wrap", "mirror"}
        What lies outside the picture, as in `scipy.ndimage`.
    cval : float
        Level for "constant", in source levels.
    interpolation : {"bilinear", "nearest"}

    Raises
    ------
    ValueError, TypeError
        If a range makes no sense, naming the argument, its value and what would be right.

    Notes
    -----
    Float output is not clipped: a brightness above 1 may exceed the source's range.
    """

    rotation_range: float = 0.0
    width_shift_range: float = 0.0
    height_shift_range: float = 0.0
    shear_range: float = 0.0
    zoom_range: float | Pair = 0.0
    zoom_keep_aspect: bool = False
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness_range: Pair | None = None
    contrast_range: Pair | None = None
    saturation_range: Pair | None = None
    channel_shift_range: float = 0.0
    rescale: float | None = None
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    fill_mode: FillMode = "nearest"
    cval: float = 0.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        self._set("rotation_range", _number("rotation_range", self.rotation_range, 0, 360))
        for name in ("width_shift_range", "height_shift_range", "channel_shift_range"):
            self._set(name, _number(name, getattr(self, name), 0, math.inf))
        self._set("shear_range", _number("shear_range", self.shear_range, 0, 89.9))
        self._set("zoom_range", _zoom(self.zoom_range))
        for name in ("brightness_range", "contrast_range", "saturation_range"):
            self._set(name, _factors(name, getattr(self, name)))
        for name in ("zoom_keep_aspect", "horizontal_flip", "vertical_flip"):
            _check_bool(name, getattr(self, name))
        self._check_output()

    def _check_output(self) -> None:
        if self.rescale is not None:
            self._set("rescale", _number("rescale", self.rescale, -math.inf, math.inf))
        for name in ("mean", "std"):
            self._set(name, _per_channel(name, getattr(self, name)))
        if self.std == 0 or (isinstance(self.std, tuple) and 0.0 in self.std):
            raise ValueError(f"`std` must not be 0, got {self.std}.")
        self._set("cval", _number("cval", self.cval, -math.inf, math.inf))
        _check_choice("fill_mode", self.fill_mode, get_args(FillMode))
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # the frozen dataclass's own way to normalise

    @property
    def zoom_bounds(self) -> Pair:
        """The lowest and highest zoom, whichever way `zoom_range` was given."""
        zoom = self.zoom_range
        return zoom if isinstance(zoom, tuple) else (1.0 - zoom, 1.0 + zoom)

    def without_augmentation(self) -> "Policy":
        """Return the policy for validation data: nothing random, the same output constants.

        Its fill mode is "nearest": nothing lies outside a picture that is only resized, but for
        the rim of half a pixel of an enlarged one, which "constant" would paint.
        """
        return Policy(
            rescale=self.rescale, mean=self.mean, std=self.std, interpolation=self.interpolation
        )

    def replace(self, **changes: Any) -> "Policy":
        """Return a copy with some fields changed, validated anew."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers, strings, lists and None, ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Policy":
        """Return the policy that `to_dict` described.

        Raises
        ------
        ValueError
            If a key is not a field of the policy.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Policy has no field {unknown}; it has {known}.")
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**arguments)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not _is_number(value):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"`{name}` must be finite and from {low:g} to {high:g}, got {value!r}.")
    return float(value)


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not hasattr(value, "__len__")


def _zoom(value: Any) -> float | Pair:
    if _is_number(value):
        zoom = _number("zoom_range", value, 0, math.inf)
        if zoom >= 1:
            raise ValueError(
                f"`zoom_range` must be below 1 as a number (it stands for 1 - z to 1 + z), got "
                f"{value!r}. Give (low, high) for larger zooms."
            )
        return zoom
    low, high = _pair("zoom_range", value)
    if low <= 0:
        raise ValueError(f"`zoom_range` must be above 0, got {value!r}.")
    return low, high


def _factors(name: str, value: Any) -> Pair | None:
    if value is None:
        return None
    low, high = _pair(name, value)
    if low < 0:
        raise ValueError(f"`{name}` must not be negative, got {value!r}.")
    return low, high


def _pair(name: str, value: Any) -> Pair:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise TypeError(f"`{name}` must be a pair (low, high), got {value!r}.")
    low, high = (_number(name, bound, -math.inf, math.inf) for bound in value)
    if low > high:
        raise ValueError(f"`{name}` must be (low, high) with low <= high, got {value!r}.")
    return low, high


def _per_channel(name: str, value: Any) -> float | tuple[float, ...] | None:
    if value is None:
        return None
    if _is_number(value):
        return _number(name, value, -math.inf, math.inf)
    if isinstance(value, str) or len(value) == 0:
        raise TypeError(f"`{name}` must be a number or one number per channel, got {value!r}.")
    return tuple(_number(name, level, -math.inf, math.inf) for level in value)


def _check_bool(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}.")
