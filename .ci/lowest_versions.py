"""Print `name==lowest` for every core dependency of pyproject.toml."""

import re
from pathlib import Path

text = Path("pyproject.toml").read_text()
block = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)
if block is None:
    raise SystemExit("pyproject.toml has no dependencies")
for name, lowest in re.findall(r'"([\w-]+)>=([\w.]+)"', block[1]):
    print(f"{name}=={lowest}")
