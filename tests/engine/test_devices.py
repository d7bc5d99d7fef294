"""On which device work runs: every way in which CUDA can be missing says so, and what to do."""

import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fusewarp.engine import devices
from fusewarp.engine.devices import Choice, DeviceError, choose_device

GIB = 2**30
NEW = ("New Card", (9, 0))
LEAST = ("Least Card", (7, 5))
OLD = ("Old Card", (7, 0))
SIMULATED = ("simulator", (5, 2))

ASK = """
import sys
from fusewarp.engine.devices import DeviceError, choose_device
for device in sys.argv[1:]:
    try:
        print(choose_device(device))
    except DeviceError as error:
        print(type(error).__name__, error)
"""

# A driver that says `ERROR` when it is started, as NVIDIA's does without a card (100).
FAKE_DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return ERROR; }
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
int cuGetProcAddress_v2(const char *name, void **out, int version, long flags, int *status) {
    *out = !strcmp(name, "cuInit") ? (void *)cuInit
         : !strcmp(name, "cuGetProcAddress") ? (void *)cuGetProcAddress_v2 : 0;
    if (status) *status = 0;
    return *out ? 0 : 500;
}
int cuGetProcAddress(const char *name, void **out, int version, long flags) {
    return cuGetProcAddress_v2(name, out, version, flags, 0);
}
"""


class FakeDriverError(RuntimeError):
    pass


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (devices.VISIBLE, devices.DISABLED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "_has_said_auto", False)


@pytest.fixture
def cards(monkeypatch):
    """Put cards, or an error, in the place of those of this machine."""

    def put(*found):
        def list_devices():
            if found and isinstance(found[0], Exception):
                raise found[0]
            return [
                SimpleNamespace(index=i, name=name, compute_capability=cc, total_bytes=GIB)
                for i, (name, cc) in enumerate(found)
            ]

        fake = SimpleNamespace(list_devices=list_devices, DriverError=FakeDriverError)
        monkeypatch.setattr(devices, "_import_cuda", lambda: fake)

    return put


def without_numba_cuda():
    raise ModuleNotFoundError("No module named 'numba_cuda'")


def message(device):
    with pytest.raises(DeviceError) as caught:
        choose_device(device)
    return str(caught.value)


# --- what is chosen


def test_cpu_asks_nobody_about_cuda(monkeypatch):
    monkeypatch.setattr(devices, "_import_cuda", pytest.fail)
    assert choose_device("cpu") == Choice("cpu", 0, 'The CPU, as device="cpu" says.')


@pytest.mark.parametrize(
    ("device", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:2", 2)]
)
def test_a_number_is_the_card_of_that_number(cards, device, index):
    cards(NEW, LEAST, ("Third Card", (12, 0)))
    choice = choose_device(device)
    assert (choice.kind, choice.index) == ("cuda", index)
    assert ("New Card", "Least Card", "Third Card")[index] in choice.reason


@pytest.mark.parametrize(
    ("found", "index", "name"),
    [((NEW, LEAST), 0, "New Card"), ((OLD, LEAST), 1, "Least Card"), ((SIMULATED,), 0, "simul")],
)
def test_auto_takes_the_first_card_that_can_be_used(cards, found, index, name):
    cards(*found)
    choice = choose_device("auto")
    assert (choice.kind, choice.index) == ("cuda", index)
    assert f"cuda:{index}, {name}" in choice.reason


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ((), "shows no device"),
        ((OLD, OLD), "Old Card (compute capability 7.0) is too old"),
        ((FakeDriverError("Call to cuInit: CUDA_ERROR_NO_DEVICE"),), "shows no device"),
    ],
)
def test_auto_takes_the_cpu_otherwise_and_says_why(cards, found, why):
    cards(*found)
    choice = choose_device("auto")
    assert (choice.kind, choice.index) == ("cpu", 0)
    assert choice.reason.startswith("The CPU, because")
    assert why in choice.reason


def test_auto_without_numba_cuda_is_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "_import_cuda", without_numba_cuda)
    assert choose_device("auto").kind == "cpu"


def test_what_auto_took_is_logged_once(cards, caplog):
    cards(NEW)
    with caplog.at_level(logging.INFO, "fusewarp"):
        choose_device("cpu")
        choose_device("cuda")
        choice = choose_device("auto")
        choose_device("auto")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("fusewarp", "INFO")
    assert choice.reason in record.getMessage()


# --- what is refused


@pytest.mark.parametrize("device", ["gpu", "GPU:0", "cuda:", "cuda:-1", "cuda:1 ", "CPU", "", 0])
def test_other_words_are_refused_and_the_known_ones_named(cards, device):
    cards(NEW)
    with pytest.raises(ValueError, match=re.escape(f"got {device!r}.")) as caught:
        choose_device(device)
    for known in ('"cpu"', '"cuda"', '"cuda:1"', '"auto"'):
        assert known in str(caught.value)


def test_without_numba_cuda_the_remedy_is_to_install_it(monkeypatch):
    monkeypatch.setattr(devices, "_import_cuda", without_numba_cuda)
    assert message("cuda") == (
        "numba-cuda cannot be imported (No module named 'numba_cuda'). "
        'Install it with pip install "fusewarp[cuda]", or use device="cpu".'
    )


def test_without_a_driver_library_the_remedy_is_a_driver(cards, monkeypatch):
    monkeypatch.setattr(devices, "cuda_driver_version", lambda: None)
    cards(FakeDriverError("Error at driver init: \n\nCUDA driver library cannot be found.\n:"))
    assert message("cuda") == (
        "There is no NVIDIA driver: its library cannot be loaded. "
        'Install NVIDIA\'s driver, or use device="cpu".'
    )


def test_a_driver_that_does_not_start_is_quoted_in_one_line(cards, monkeypatch):
    monkeypatch.setattr(devices, "cuda_driver_version", lambda: (12, 8))
    cards(FakeDriverError("Error at driver init: \nCUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803):"))
    said = message("cuda")
    assert "does not start: Error at driver init: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803). " in said
    assert "nvidia-smi" in said


@pytest.mark.parametrize("found", [(), (FakeDriverError("CUDA_ERROR_NO_DEVICE (100)"),)])
def test_no_device_with_cuda_visible_devices_names_its_value(cards, found, monkeypatch):
    cards(*found)
    seen = message("cuda")
    assert "driver is there, but it shows no device" in seen
    assert devices.VISIBLE not in seen
    monkeypatch.setenv(devices.VISIBLE, "-1")
    hidden = message("cuda")
    assert "because CUDA_VISIBLE_DEVICES='-1' hides it. Unset CUDA_VISIBLE_DEVICES" in hidden


def test_a_card_that_is_too_old_is_named(cards):
    cards(NEW, OLD)
    assert message("cuda:1") == (
        "cuda:1, Old Card (compute capability 7.0) is too old: fusewarp needs compute capability "
        '7.5. Use a newer card, or use device="cpu".'
    )


def test_a_number_beyond_the_last_card_names_the_last(cards, monkeypatch):
    cards(NEW, LEAST)
    assert message("cuda:2") == (
        "There is no cuda:2: the last CUDA device is cuda:1. "
        'Choose a number up to 1, or use device="cpu".'
    )
    monkeypatch.setenv(devices.VISIBLE, "3,4")
    assert "the last CUDA device is cuda:1 with CUDA_VISIBLE_DEVICES='3,4'." in message("cuda:2")


def test_the_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(DeviceError("No card.", "Buy one.")))
    assert (error.problem, error.remedy, str(error)) == (
        "No card.",
        "Buy one.",
        "No card. Buy one.",
    )


# --- the real thing


def ask(*wanted, **environment):
    """Choose devices in a process of its own, with numba-cuda itself; return its lines."""
    names = (devices.VISIBLE, devices.DISABLED, "NUMBA_ENABLE_CUDASIM")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-c", ASK, *wanted],
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_in_the_simulator_its_card_is_there_though_it_calls_itself_old():
    pytest.importorskip("numba_cuda")
    simulator = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    cuda, auto, beyond = ask("cuda", "auto", "cuda:1", **simulator)
    assert cuda.startswith("Choice(kind='cuda', index=0, reason='cuda:0, simulator")
    assert auto.startswith("Choice(kind='cuda', index=0, reason='cuda:0, simulator")
    assert "DeviceError There is no cuda:1: the last CUDA device is cuda:0." in beyond


def test_this_machine_without_a_driver_has_only_its_cpu():
    pytest.importorskip("numba_cuda")
    if devices.cuda_driver_version() is not None:
        pytest.skip("there is an NVIDIA driver")
    cuda, auto = ask("cuda", "auto")
    assert cuda.startswith("DeviceError There is no NVIDIA driver")
    assert auto.startswith("Choice(kind='cpu'")


def test_cuda_that_is_switched_off_is_said():
    pytest.importorskip("numba_cuda")
    (cuda,) = ask("cuda", NUMBA_DISABLE_CUDA="1")
    assert cuda.startswith("DeviceError NUMBA_DISABLE_CUDA=1 switches CUDA off. Unset it")


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs cc on Linux")
@pytest.mark.parametrize(
    ("error", "why"),
    [(100, "is there, but it shows no device"), (803, "does not start: ")],
)
def test_a_driver_that_refuses_is_told_from_none(tmp_path, error, why):
    pytest.importorskip("numba_cuda")
    (tmp_path / "driver.c").write_text(FAKE_DRIVER)
    for name in ("libcuda.so.1", "libcuda.so"):  # numba-cuda loads either
        command = ["cc", "-w", "-shared", "-fPIC", f"-DERROR={error}", "-o", name, "driver.c"]
        subprocess.run(command, cwd=tmp_path, check=True)
    (cuda,) = ask("cuda", LD_LIBRARY_PATH=str(tmp_path))
    assert cuda.startswith("DeviceError NVIDIA's driver ")
    assert why in cuda


def test_a_wrong_word_is_named_even_where_there_is_no_driver(monkeypatch):
    def no_driver():
        raise DeviceError("There is no driver.", "Install it.")

    monkeypatch.setattr(devices, "cuda_devices", no_driver)
    with pytest.raises(ValueError, match="got 'gpu'"):
        choose_device("gpu")
