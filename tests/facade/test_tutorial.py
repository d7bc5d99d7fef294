"""The notebook of the tutorial runs from top to bottom, and is kept without what it printed."""

import json
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_kept_without_outputs_and_paths(notebook):
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert not re.search(r"/(home|root|tmp|work|Users)/", json.dumps(notebook))


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_QUICK", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # its photos and runs go with the test's
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()

    said = "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert "would rescale twice" in said
    assert "SIGINT stopped the training in epoch 2, after " in said
    assert float(re.search(r"largest difference of a weight: (\S+)", said)[1]) < 1e-4
    assert "model.keras" in said
