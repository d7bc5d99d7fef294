"""fusewarp: image augmentation in one fused pass over each picture."""

from pathlib import Path

_HERE = Path(__file__).parent
if not (_HERE / "engine").is_dir():  # a checkout that is not installed: the rooms lie beside us
    __path__.append(str(_HERE.parent))
