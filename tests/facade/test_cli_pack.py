"""`fusewarp pack` and `fusewarp verify`."""

import numpy as np
import pytest
from typer.testing import CliRunner

from fusewarp import FolderSource, PackedSource
from fusewarp.cli import app
from fusewarp.engine.resize import decode_to_size


def run(*arguments):
    arguments = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def in_one_sentence(result, *words):
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("command", ["pack", "verify"])
def test_help_has_examples(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"fusewarp {command}" in result.output.split("Examples")[-1]


def test_pack_then_verify(photo_folder, tmp_path):
    out = tmp_path / "packed"
    result = run("pack", photo_folder, out, "--size", "12,16", "--threads", 2)
    assert result.exit_code == 0, result.output
    assert "11 pictures of 2 classes, 12 x 16 x 3, 0.00 GB" in result.stdout
    assert f'fusewarp.PackedSource("{out}")' in result.stdout
    packed, source = PackedSource(out), FolderSource(photo_folder)
    assert list(packed.names) == source.names
    expected = decode_to_size(source.paths[4].read_bytes(), "x", (12, 16))
    np.testing.assert_array_equal(packed.read(4), expected)

    result = run("verify", out)
    assert (result.exit_code, result.stdout) == (0, f"{out} is whole: 11 pictures.\n")


def test_the_default_is_256_pixels_squeezed(photo_folder, tmp_path):
    assert run("pack", photo_folder, tmp_path / "packed").exit_code == 0
    assert PackedSource(tmp_path / "packed").images.shape == (11, 256, 256, 3)


def test_options_reach_the_pixels(photo_folder, tmp_path):
    out = tmp_path / "packed"
    result = run(
        *("pack", photo_folder, out, "--size", 20, "--unlabelled"),
        *("--color-mode", "grayscale", "--resize", "crop"),
    )
    assert result.exit_code == 0, result.output
    packed = PackedSource(out)
    assert packed.labels is None
    source = FolderSource(photo_folder, labelled=False)
    expected = decode_to_size(
        source.paths[4].read_bytes(), "x", (20, 20), color_mode="grayscale", resize="crop"
    )
    np.testing.assert_array_equal(packed.read(4), expected)


def test_a_broken_file_stops_or_is_left_out(photo_folder, tmp_path):
    (photo_folder / "cat" / "01.jpg").write_bytes(b"no picture")
    out = tmp_path / "packed"
    in_one_sentence(run("pack", photo_folder, out, "--size", 8), "01.jpg", "start again")
    result = run("pack", photo_folder, out, "--size", 8, "--on-error", "skip")
    assert result.exit_code == 0, result.output
    assert "Left out cat/01.jpg; meta.json lists them" in result.stdout


def test_mistakes_end_in_one_sentence(photo_folder, tmp_path):
    out = tmp_path / "packed"
    in_one_sentence(run("pack", tmp_path / "none", out), "none does not exist")
    in_one_sentence(run("pack", photo_folder, out, "--size", "1,2,3"), "--size must be", "1,2,3")
    in_one_sentence(run("pack", photo_folder, out, "--size", "big"), "--size must be", "big")
    in_one_sentence(run("pack", photo_folder, out, "--size", "0"), "`size` must be")
    in_one_sentence(run("pack", photo_folder, photo_folder), "exists already")
    in_one_sentence(run("verify", tmp_path / "none"), "There is no folder")
    in_one_sentence(run("verify", photo_folder), "not a folder of packed pictures")
    assert run("pack", photo_folder, out, "--resize", "pad").exit_code == 2
    assert not out.exists()


def test_verify_names_what_is_damaged(photo_folder, tmp_path):
    out = tmp_path / "packed"
    run("pack", photo_folder, out, "--size", 8)
    with open(out / "images.npy", "r+b") as file:
        file.seek(-5, 2)
        file.write(b"!!")
    in_one_sentence(run("verify", out), "images.npy (pictures 0 to 10) is not what was packed")
