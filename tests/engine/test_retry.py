"""Asking again: how often, how long, and what for."""

import errno
import time

import pytest

from fusewarp.engine.retry import GaveUpError, Retry, may_pass

QUICK = Retry(attempts=4, first_delay=0.001, longest_delay=0.002, longest_total=5)


class Failing:
    """Raises the given errors, one at each call, then returns 7."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7


def with_status(status):
    error = RuntimeError(f"status {status}")
    error.status = status
    return error


def test_what_passes_is_asked_again():
    request = Failing(OSError("503"), TimeoutError(), with_status(429))
    assert QUICK.call(request) == 7
    assert request.calls == 4


def test_the_count_is_bounded_and_told():
    request = Failing(*[OSError("503 slow down")] * 9)
    with pytest.raises(GaveUpError, match=r"asked 4 times in 0.\d s, at last OSError: 503 slow"):
        QUICK.call(request)
    assert request.calls == 4


def test_the_time_is_bounded():
    request = Failing(*[OSError("503")] * 1000)
    began = time.monotonic()
    with pytest.raises(GaveUpError, match="asked"):
        Retry(1000, first_delay=0.02, longest_delay=0.02, longest_total=0.2).call(request)
    assert time.monotonic() - began < 2
    assert request.calls <= 21  # a pause is at least half of 0.02 s


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("x"),
        PermissionError("x"),
        with_status(403),
        TypeError("x"),
        OSError(errno.EINVAL, "the range is not satisfiable"),
    ],
)
def test_what_lasts_is_raised_at_once(error):
    request = Failing(error)
    with pytest.raises(type(error)):
        QUICK.call(request)
    assert request.calls == 1


def test_pauses_double_up_to_the_longest_and_differ(monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(GaveUpError):
        Retry(6, 1, 4, 1000).call(Failing(*[OSError()] * 6))
    for pause, longest in zip(pauses, [1, 2, 4, 4, 4], strict=True):
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == 5


def test_statuses():
    assert [s for s in (400, 401, 404, 408, 429, 500, 503) if may_pass(with_status(s))] == [
        408,
        429,
        500,
        503,
    ]
