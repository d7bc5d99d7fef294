from pathlib import Path

import pytest

from fusewarp.engine.memory import available_memory

GB = 2**30


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(root: Path, free: int, groups: str) -> None:
    write(root / "proc/meminfo", f"MemTotal: 99 kB\nMemAvailable:  {free // 1024} kB\n")
    write(root / "proc/self/cgroup", groups)


def group(folder: Path, limit: object, used: int, cached: int) -> None:
    write(folder / "memory.max", f"{limit}\n")
    write(folder / "memory.current", f"{used}\n")
    write(folder / "memory.stat", f"anon 5\nactive_file {cached}\ninactive_file 0\n")


def test_here_it_is_a_sensible_number():
    available = available_memory()
    assert available is None or 2**20 < available < 2**50


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("max", "max", 16 * GB),
        (8 * GB, "max", 6 * GB),  # 3 used, 1 of it cached files
        ("max", 4 * GB, 2 * GB),
        (8 * GB, 4 * GB, 2 * GB),
        (1 * GB, "max", 0),
    ],
)
def test_the_tightest_group_on_the_way_up_decides(tmp_path, inner, outer, expected):
    machine(tmp_path, 16 * GB, "0::/job/step\n")
    group(tmp_path / "sys/fs/cgroup/job", outer, 3 * GB, GB)
    group(tmp_path / "sys/fs/cgroup/job/step", inner, 3 * GB, GB)
    assert available_memory(tmp_path) == expected


def test_a_container_sees_its_own_limit_at_the_top(tmp_path):
    machine(tmp_path, 16 * GB, "0::/../../outside\n")
    group(tmp_path / "sys/fs/cgroup", 5 * GB, 2 * GB, 0)
    assert available_memory(tmp_path) == 3 * GB


def test_version_1_of_control_groups(tmp_path):
    machine(tmp_path, 16 * GB, "5:cpu:/elsewhere\n4:memory:/job\n")
    folder = tmp_path / "sys/fs/cgroup/memory/job"
    write(folder / "memory.limit_in_bytes", f"{8 * GB}\n")
    write(folder / "memory.usage_in_bytes", f"{3 * GB}\n")
    write(folder / "memory.stat", f"total_active_file {GB}\ntotal_inactive_file {GB}\n")
    assert available_memory(tmp_path) == 7 * GB


def test_without_proc_half_of_the_machine_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 100, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert available_memory(tmp_path) == 50 * 4096
    monkeypatch.delattr("os.sysconf")
    assert available_memory(tmp_path) is None
