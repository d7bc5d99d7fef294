"""The registry: every library with a row, and which of them are installed."""

from importlib import metadata

from ..contract import Entry, NotAvailable, Peer
from . import (
    albumentations,
    dali,
    floors,
    keras_generator,
    keras_layers,
    kornia,
    opencv,
    ours,
    tensorflow_projective,
    torchvision,
)

PEERS: tuple[Peer, ...] = (
    floors.PEER,
    ours.PEER,
    ours.DROP_IN_PEER,
    ours.TENSORFLOW_PEER,
    opencv.PEER,
    albumentations.PEER,
    albumentations.PEER_X,
    dali.PEER,
    torchvision.PEER,
    kornia.PEER,
    tensorflow_projective.PEER,
    keras_layers.PEER,
    keras_generator.PEER,
)


def find_entry(table: str, key: str) -> Entry:
    """Return the entry of a row.

    Raises
    ------
    NotAvailable
        If no library has it.
    """
    for peer in PEERS:
        for entry in peer.entries:
            if (entry.table, entry.key) == (table, key):
                return entry
    raise NotAvailable(f"no row {key!r} in the table {table!r}")


def missing_packages(peer: Peer) -> list[str]:
    """Return the distributions of a peer that are not installed; `a|b` needs one of the two."""
    return [
        names.split("|")[0]
        for names in peer.packages
        if not any(version_of(name) for name in names.split("|"))
    ]


def version_of(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of all installed distributions that the tables name."""
    also = ("fusewarp", "numba", "llvmlite", "opencv-python", "opencv-python-headless", "Pillow")
    named = {name for peer in PEERS for names in peer.packages for name in names.split("|")}
    found = {name: version_of(name) for name in sorted({*named, *also})}
    return {name: version for name, version in found.items() if version is not None}
