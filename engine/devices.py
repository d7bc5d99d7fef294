"""On which device work runs, the CPU or a CUDA card, and why.

Nothing here imports CUDA before somebody asks for it.
"""

import ctypes
import logging
import os
import re
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..kernels.cuda import Device

LOGGER = logging.getLogger("fusewarp")
MIN_CAPABILITY = (7, 5)  # the oldest card that the kernels are compiled for
SIMULATOR = "simulator"  # the name of Numba's simulated card, which has an old card's capability
VISIBLE = "CUDA_VISIBLE_DEVICES"
DISABLED = "NUMBA_DISABLE_CUDA"
DRIVER_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
OR_CPU = 'or use device="cpu".'

_has_said_auto = False  # of the process


@dataclass(frozen=True)
class Choice:
    """A device that work runs on.

    Attributes
    ----------
    kind : {"cpu", "cuda"}
    index : int
        Which CUDA device, as CUDA counts the visible ones; 0 for the CPU.
    reason : str
        One sentence: which device it is, and why.
    """

    kind: Literal["cpu", "cuda"]
    index: int
    reason: str


class DeviceError(RuntimeError):
    """A device cannot be used; the message is what is wrong (`problem`) and the `remedy`."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"


def choose_device(device: str) -> Choice:
    """Decide on which device work runs.

    Parameters
    ----------
    device : str
        "cpu"; "cuda" for the first CUDA device, "cuda:1" for the second and so on; or "auto": the
        first CUDA device that can be used, else the CPU. What "auto" takes is logged once a
        process, at level INFO, to the logger "fusewarp".

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        If `device` is none of these.
    DeviceError
        If a CUDA device is asked for that cannot be used.
    """
    if device == "cpu":
        return Choice("cpu", 0, 'The CPU, as device="cpu" says.')
    if device == "auto":
        choice = _first_usable()
        _say_auto(choice)
        return choice
    index = _cuda_index(device)
    card = _pick(cuda_devices(), index)
    _check_capability(card)
    return Choice("cuda", card.index, f'{_describe(card)}, as device="{device}" says.')


def cuda_devices() -> "list[Device]":
    """List the CUDA devices, those among them that are too old for fusewarp included.

    Returns
    -------
    list of kernels.cuda.Device
        At least one.

    Raises
    ------
    DeviceError
        If there is none, with the reason.
    """
    try:
        cuda = _import_cuda()
    except ImportError as error:
        raise DeviceError(
            f"numba-cuda cannot be imported ({error}).",
            f'Install it with pip install "fusewarp[cuda]", {OR_CPU}',
        ) from error
    except RuntimeError as error:  # the simulator, and the compiler on
        raise DeviceError(str(error), f"Or unset NUMBA_ENABLE_CUDASIM, {OR_CPU}") from error
    try:
        devices: list[Device] = cuda.list_devices()
    except cuda.DriverError as error:
        raise _driver_trouble(" ".join(str(error).split())) from error
    if not devices:
        raise _no_device()
    return devices


def cuda_driver_version() -> tuple[int, int] | None:
    """Ask NVIDIA's driver which CUDA version it is for.

    Returns
    -------
    (major, minor) or None
        None if its library is not there. A driver may be there and yet not start.
    """
    version = ctypes.c_int(0)
    try:
        if ctypes.CDLL(DRIVER_LIBRARY).cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10


def _import_cuda() -> ModuleType:
    """Import the one module that needs numba-cuda."""
    from ..kernels import cuda

    return cuda


def _cuda_index(device: str) -> int:
    found = re.fullmatch(r"cuda(?::([0-9]+))?", device) if isinstance(device, str) else None
    if found is None:
        raise ValueError(
            f'`device` must be "cpu", "cuda", "cuda:<number>" such as "cuda:1", or "auto"; '
            f"got {device!r}."
        )
    return int(found[1] or 0)


def _pick(devices: "list[Device]", index: int) -> "Device":
    if index < len(devices):
        return devices[index]
    hidden = f" with {VISIBLE}={os.environ[VISIBLE]!r}" if VISIBLE in os.environ else ""
    raise DeviceError(
        f"There is no cuda:{index}: the last CUDA device is cuda:{len(devices) - 1}{hidden}.",
        f"Choose a number up to {len(devices) - 1}, {OR_CPU}",
    )


def _first_usable() -> Choice:
    try:
        devices = cuda_devices()
        usable = [card for card in devices if _is_usable(card)]
        card = usable[0] if usable else devices[0]
        _check_capability(card)
    except DeviceError as error:
        return Choice("cpu", 0, f"The CPU, because no CUDA device can be used: {error.problem}")
    return Choice("cuda", card.index, f"{_describe(card)}, the first CUDA device that can be used.")


def _say_auto(choice: Choice) -> None:
    global _has_said_auto
    if not _has_said_auto:
        _has_said_auto = True
        LOGGER.info('device="auto" took: %s', choice.reason)


def _is_usable(card: "Device") -> bool:
    return card.name == SIMULATOR or tuple(card.compute_capability) >= MIN_CAPABILITY


def _check_capability(card: "Device") -> None:
    if not _is_usable(card):
        raise DeviceError(
            f"{_describe(card)} is too old: fusewarp needs compute capability "
            f"{_dotted(MIN_CAPABILITY)}.",
            f"Use a newer card, {OR_CPU}",
        )


def _describe(card: "Device") -> str:
    return f"cuda:{card.index}, {card.name} (compute capability {_dotted(card.compute_capability)})"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _driver_trouble(words: str) -> DeviceError:
    """Say what is behind the words of a driver that is missing or does not start."""
    if DISABLED in words:
        return DeviceError(f"{DISABLED}=1 switches CUDA off.", f"Unset it, {OR_CPU}")
    if "NO_DEVICE" in words:  # a driver without a card does not even start
        return _no_device()
    if cuda_driver_version() is None:
        return DeviceError(
            "There is no NVIDIA driver: its library cannot be loaded.",
            f"Install NVIDIA's driver, {OR_CPU}",
        )
    return DeviceError(
        f"NVIDIA's driver does not start: {words.rstrip('.: ')}.",
        f"Look what nvidia-smi says, restart after an update of the driver, {OR_CPU}",
    )


def _no_device() -> DeviceError:
    if VISIBLE in os.environ:
        return DeviceError(
            f"NVIDIA's driver shows no device, because {VISIBLE}={os.environ[VISIBLE]!r} hides it.",
            f"Unset {VISIBLE} or put the number of a device there, {OR_CPU}",
        )
    return DeviceError(
        "NVIDIA's driver is there, but it shows no device.",
        f"Look whether nvidia-smi lists one (a container has to be given it), {OR_CPU}",
    )
