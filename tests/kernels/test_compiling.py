"""Compiled loops on disk: the same pixels as without, never stale, never in the way."""

import json
import os
import random
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from numba import config

import fusewarp
from fusewarp.kernels import cache, compiling
from fusewarp.kernels.codes import FILL_CODES
from fusewarp.kernels.locate import make_row_locator
from fusewarp.kernels.vector import DIAGONAL, FULL, NONE, make_pixel_loop

if config.DISABLE_JIT:
    pytest.skip("nothing is compiled, nothing is kept", allow_module_level=True)

SCRIPT = Path(__file__).with_name("compiled_variants.py")
PLAIN = {mode: f"{mode},float32,HWC,plain" for mode in FILL_CODES}
ALL_VARIANTS = [
    ",".join(words)
    for words in product(
        FILL_CODES, ("float32", "uint8", "float16"), ("HWC", "CHW"), ("plain", "mixed")
    )
]
# Of ALL_VARIANTS: over pixels with and without a constant outside, where from for each fill mode;
# and two of the generic kind.
NUM_LOOPS = 2 * 3 * 2 * 2 + len(FILL_CODES) + 2


def start(folder, *variants, path=None, **environment):
    """Start a process that warps by some variants; None for no cache."""
    own = {
        "PYTHONPATH": path or os.pathsep.join(part for part in sys.path if part),
        "FUSEWARP_CACHE": "0" if folder is None else "1",
        "FUSEWARP_CACHE_DIR": str(folder),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(SCRIPT), *variants],
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=SCRIPT.parent,
    )


def finish(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return SimpleNamespace(**json.loads(out), said=err)


def run(folder, *variants, **options):
    return finish(start(folder, *variants, **options))


def kernels_in(folder):
    return sorted(folder.glob("*/*.kernel"))


# --- the same pixels


def test_loops_of_two_processes_in_one_give_their_own_pixels(tmp_path):
    """Named by Numba's count alone, both gave the pixels of the first one loaded."""
    two = PLAIN["nearest"], PLAIN["reflect"]
    started = [start(tmp_path, variant) for variant in two]
    truth = run(None, *two)
    for process in started:
        finish(process)

    loaded = run(tmp_path, *two)

    assert (loaded.loaded, loaded.compiled) == (3, 0)  # a loop over pixels, and where from, twice
    assert loaded.pixels == truth.pixels
    assert len(set(truth.pixels.values())) == 2


@pytest.mark.slow
def test_every_variant_from_any_process_gives_the_pixels_of_a_fresh_compile(tmp_path):
    truth = run(None, *ALL_VARIANTS, "uint16,float32", "uint16,uint8")
    variants = list(truth.pixels)
    assert len(set(truth.pixels.values())) == len(variants)
    rng = random.Random(0)
    for first in range(5):  # each process compiles some of each kind, in an order of its own
        own = variants[first::5]
        rng.shuffle(own)
        assert run(tmp_path, *own).pixels == {name: truth.pixels[name] for name in own}
        if first == 2:  # loaded and compiled beside each other, in a copy that is thrown away
            half = shutil.copytree(tmp_path, tmp_path.with_name("half"))
            mixed = run(half, *reversed(variants))
            assert mixed.pixels == truth.pixels
            assert min(mixed.loaded, mixed.compiled) >= 3

    for order in (variants, variants[::-1], rng.sample(variants, len(variants))):
        loaded = run(tmp_path, *order)
        assert (loaded.loaded, loaded.compiled) == (NUM_LOOPS, 0)
        assert loaded.pixels == truth.pixels


@pytest.mark.slow
def test_two_processes_at_once_do_not_disturb_each_other(tmp_path):
    started = [start(tmp_path, *PLAIN.values()) for _ in range(2)]
    results = [finish(process).pixels for process in started]

    loaded = run(tmp_path, *PLAIN.values())

    assert loaded.compiled == 0
    assert results == [loaded.pixels, loaded.pixels]
    assert {file.suffix for file in tmp_path.glob("*/*")} == {".kernel"}


# --- never stale


def copy_of_the_package(folder):
    home = Path(cache.SOURCES).parent
    skip = shutil.ignore_patterns("__pycache__")
    rooms = Path(fusewarp.__file__).parent, home / "kernels", home / "engine", home / "integrations"
    for room in rooms:
        target = folder / "fusewarp" / ("" if room.name == "fusewarp" else room.name)
        shutil.copytree(room.resolve(), target, ignore=skip, dirs_exist_ok=True)
    return folder


@pytest.mark.slow
def test_an_edited_kernel_is_compiled_anew(tmp_path):
    package, folder = copy_of_the_package(tmp_path / "package"), tmp_path / "cache"
    variant = PLAIN["nearest"]
    before = run(folder, variant, path=str(package))
    pixel = package / "fusewarp" / "kernels" / "pixel.py"
    text = pixel.read_text()
    assert "    return whole + floor, position - floor" in text
    pixel.write_text(text.replace("return whole + floor,", "return whole + floor + ONE,"))

    edited = run(folder, variant, path=str(package))
    pixel.write_text(text)
    restored = run(folder, variant, path=str(package))

    assert edited.loaded == 0
    assert edited.pixels != before.pixels
    assert restored.compiled == 0
    assert restored.pixels == before.pixels


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_BOUNDSCHECK": "1"},
        {"NUMBA_OPT": "1"},
        {"NUMBA_LOOP_VECTORIZE": "0"},
    ],
)
def test_another_processor_or_setting_is_another_kernel(setting, tmp_path):
    variant = PLAIN["nearest"]
    run(tmp_path, variant)
    other = run(tmp_path, variant, **setting)
    assert other.loaded == 0
    assert run(tmp_path, variant, **setting).compiled == 0
    assert run(tmp_path, variant).compiled == 0


def test_without_the_compiler_nothing_is_kept(tmp_path):
    assert run(tmp_path, PLAIN["nearest"], NUMBA_DISABLE_JIT="1").compiled == 0
    assert not kernels_in(tmp_path)


# --- never in the way


@pytest.mark.slow
def test_a_damaged_file_is_replaced(tmp_path):
    variant = PLAIN["nearest"]
    first = run(tmp_path, variant)
    files = kernels_in(tmp_path)
    whole = [file.read_bytes() for file in files]
    other_end = bytes([whole[2][-1] ^ 1])
    for file, content in zip(files, (b"", whole[1][:-1], whole[2][:-1] + other_end), strict=True):
        file.write_bytes(content)

    again = run(tmp_path, variant)

    assert again.loaded == 0
    assert again.pixels == first.pixels
    assert run(tmp_path, variant).compiled == 0


@pytest.mark.slow
def test_a_payload_that_numba_cannot_rebuild_is_replaced(tmp_path):
    """Right checksum, wrong content: as a Numba would write that calls its parts otherwise."""
    variant = PLAIN["nearest"]
    first = run(tmp_path, variant)
    for file in kernels_in(tmp_path):
        body = file.read_bytes()[len(cache.MAGIC) + cache.DIGEST_LENGTH :]
        key = body[4 : 4 + int.from_bytes(body[:4], "little")].decode()
        name = file.name.rpartition("-")[0]
        cache.write(file.parent, name, key, b"no pickle")
        assert cache.read(file.parent, name, key) == b"no pickle"

    again = run(tmp_path, variant)

    assert again.loaded == 0
    assert again.pixels == first.pixels


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_said_once_and_no_error(tmp_path):
    (tmp_path / "file").touch()
    result = run(tmp_path / "file" / "cache", "uint16,uint8", "uint16,float32")
    assert result.compiled == 2
    assert result.said.count("\n") == 1
    assert "not kept in" in result.said
    assert "FUSEWARP_CACHE_DIR" in result.said


@pytest.mark.slow
def test_a_long_compile_is_said_once_and_only_where_it_happens(tmp_path):
    first = run(tmp_path, "uint16,float32", "uint16,uint8")
    assert first.said.count("\n") == 1
    assert f"(kept in {kernels_in(tmp_path)[0].parent})" in first.said
    assert "`fusewarp warmup`" in first.said
    assert run(tmp_path, "uint16,float32", "uint16,uint8").said == ""
    assert run(None, "uint16,float32").said == ""


# --- names


def test_the_same_arguments_are_the_same_loop():
    assert make_pixel_loop(3, True, FULL, False) is make_pixel_loop(3, True, FULL, False)


def test_variants_are_named_after_all_their_arguments():
    codes, flags, colours = FILL_CODES.values(), (True, False), (NONE, DIAGONAL, FULL)
    loops = [make_row_locator(*each) for each in product(codes, flags)]
    loops += [make_pixel_loop(3, *each) for each in product(flags, colours, flags)]
    names = [loop.py_func.__qualname__ for loop in loops]
    assert len(set(names)) == len(loops) == 22
    assert names[-1].startswith(
        "make_pixel_loop.warp_pixels__channels_3__is_constant_False__colours_full"
    )


def test_two_factories_may_call_their_functions_alike():
    @compiling.batch_loop_factory
    def make_one(number):
        def loop(values):
            values[0] = number

        return loop

    @compiling.batch_loop_factory
    def make_other(number):
        def loop(values):
            values[0] = -number

        return loop

    # Only here: a factory at the top of a module has no `<locals>` in its name.
    make_one.__wrapped__.__qualname__, make_other.__wrapped__.__qualname__ = "make_one", "other"
    assert make_one(1).py_func.__qualname__ == "make_one.loop__number_1"
    assert make_other(1).py_func.__qualname__ == "other.loop__number_1"


def test_a_closure_without_a_name_of_its_own_is_refused():
    with pytest.raises(TypeError, match="batch_loop_factory"):

        @compiling.batch_loop
        def loop(values):
            values[0] = 1


def test_a_factory_takes_only_what_can_be_named():
    @compiling.batch_loop_factory
    def make(factors):
        def loop(values):
            values[0] = factors[0]

        return loop

    with pytest.raises(TypeError, match=r"`factors` of .*make must be a number, a flag or a word"):
        make((1.0, 2.0))


def library(*functions):
    module = SimpleNamespace(
        functions=[
            SimpleNamespace(name=name, is_declaration=False, linkage=SimpleNamespace(name=linkage))
            for name, linkage in functions
        ]
    )
    return SimpleNamespace(_final_module=module)


@pytest.mark.parametrize(
    ("name", "linkage", "is_unique"),
    [
        ("_ZN8fusewarp7kernels6vector8warp_rgb", "external", True),
        ("_ZN8fusewarp7kernels6vector4make12_3clocals_3e4loop", "linkonce_odr", False),
        ("_ZN5numba7cpython8builtins6ol_min12_3clocals_3e4impl", "linkonce_odr", False),
        ("_ZN5numba2np8arrayobj15array_transpose", "linkonce_odr", False),
        ("_ZN5numba2np8arrayobj15array_transpose", "internal", True),
    ],
)
def test_code_of_no_lasting_name_is_not_kept(name, linkage, is_unique):
    ours = "_ZN8fusewarp7kernels6vector10locate_row", "external"
    assert compiling.names_are_unique(library(ours, (name, linkage))) is is_unique


def test_what_is_not_kept_may_be_told_from_what_is(monkeypatch, tmp_path):
    @compiling.batch_loop_factory
    def make(number):
        def loop(value):
            return value + number

        return loop

    make.__wrapped__.__qualname__ = "make"
    monkeypatch.setenv("FUSEWARP_CACHE", "1")
    monkeypatch.setenv("FUSEWARP_CACHE_DIR", str(tmp_path))
    with compiling.loading_only(), pytest.raises(compiling.NotKeptError):
        make(3)(4)
    assert make(3)(4) == 7
    with compiling.loading_only():
        assert make(3)(4) == 7
