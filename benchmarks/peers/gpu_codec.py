"""A row of fusewarp on a GPU with JPEGs decoded there too, where nvImageCodec is installed."""

from ...engine import DeviceError
from ..contract import ALL_THREADS, NotAvailable, Peer, Runner
from .gpu_ours import INSTALL, REDUCED, folder_source, loader_row
from .gpu_work import GpuWork, entry


def decoded_on_device(work: GpuWork, threads: int) -> Runner:
    """Make whole epochs of a loader of JPEGs that nvImageCodec decodes."""
    try:
        return loader_row(folder_source, False, "device")(work, threads)
    except (ModuleNotFoundError, DeviceError) as error:
        raise NotAvailable(str(error)) from error


PEER = Peer(
    name="fusewarp on a GPU, with nvImageCodec",
    packages=("numba-cuda",),
    install=INSTALL,
    process="native",
    entries=(
        entry(
            "loader", "jpeg.device", "fusewarp Loader, decode_on='device'", decoded_on_device,
            "ours", group="JPEGs", threads=ALL_THREADS, quick=True,
            note=f"float32; decoded by nvImageCodec at full size; {REDUCED}",
        ),
    ),
)  # fmt: skip
