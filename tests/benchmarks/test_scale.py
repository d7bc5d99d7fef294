"""The plan and its simulation: closed forms, nothing lost or twice, and one small calibration."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fusewarp import BlockShuffle
from fusewarp.benchmarks.scripts import scale, scale_plan
from fusewarp.benchmarks.scripts.scale_limits import limits, mean_wait
from fusewarp.benchmarks.scripts.scale_simulation import (
    Clock,
    Line,
    Reader,
    Store,
    Training,
    simulate,
    thinned,
)
from fusewarp.engine import retry

LONG = Training(batch_size=64, steps=40, warm_up=10)


@pytest.mark.parametrize(
    ("store", "reader", "training", "bound", "rate"),
    [
        (Store(latency=0.02), Reader(threads=8, cores=99), LONG, "threads", 8 / 0.02),
        (
            Store(latency=0.02, connection_bandwidth=1e6),
            Reader(threads=8, cores=99, picture_bytes=1e4, core_seconds=0.01),
            LONG,
            "threads",
            8 / (0.02 + 0.01 + 0.01),
        ),
        (Store(latency=0.02), Reader(threads=8, cores=2, core_seconds=0.01), LONG, "cores", 200),
        (Store(), Reader(threads=4, cores=4, python_seconds=0.002), LONG, "Python", 500),
        (
            Store(),
            Reader(threads=8, cores=8, processes=2, python_seconds=0.002, core_seconds=0.001),
            LONG,
            "Python",
            1000,
        ),
        (Store(bandwidth=1e6), Reader(threads=8, picture_bytes=1e4), LONG, "store", 100),
        (
            Store(bandwidth=1e6),
            Reader(threads=8, picture_bytes=1e4),
            replace(LONG, ranks=4),
            "store",
            25,
        ),
        (
            Store(),
            Reader(threads=8, picture_bytes=1e4, bandwidth=1e6),
            replace(LONG, ranks=4),
            "network",
            100,
        ),
        (Store(requests_per_second=80), Reader(threads=8), LONG, "requests", 80),
        (
            Store(requests_per_second=80),
            Reader(threads=8, pictures_per_request=4),
            LONG,
            "requests",
            320,
        ),
        (
            Store(latency=0.02),
            Reader(threads=8, pictures_per_request=4),
            LONG,
            "threads",
            8 / 0.005,
        ),
        (
            Store(latency=0.001),
            Reader(threads=8),
            replace(LONG, step_seconds=0.5, ranks=3),
            "GPU",
            128,
        ),
    ],
)
def test_without_variance_the_least_limit_is_the_rate(store, reader, training, bound, rate):
    parts = limits(store, reader, training)
    assert min(parts, key=parts.get) == bound
    assert parts[bound] == pytest.approx(rate)
    outcome = simulate(store, reader, training)
    assert outcome.images_per_second == pytest.approx(rate * training.ranks, rel=0.02)
    assert outcome.store_bandwidth == pytest.approx(
        outcome.images_per_second * reader.picture_bytes
    )


def test_without_prefetch_a_batch_begins_when_it_is_asked_for():
    reader = Reader(threads=8, cores=8, prefetch=0, core_seconds=0.002)
    training = Training(batch_size=64, step_seconds=0.1)
    outcome = simulate(Store(latency=0.018), reader, training)
    loading = 64 / 8 * 0.02
    assert outcome.step_seconds == pytest.approx((0.1 + loading, 0.1 + loading))
    assert outcome.waiting == pytest.approx(loading / (0.1 + loading))
    assert outcome.waiting_own == pytest.approx(outcome.waiting)
    ahead = simulate(Store(latency=0.018), replace(reader, prefetch=1), training)
    assert ahead.step_seconds[0] == pytest.approx(loading)  # which is longer than the step


@pytest.mark.parametrize("ranks", [1, 16])
def test_a_step_lasts_as_long_as_the_longest_of_all_ranks(ranks):
    training = Training(ranks=ranks, batch_size=1, steps=2000, step_seconds=0.1, step_sigma=0.3)
    outcome = simulate(Store(), Reader(), training)
    longest = np.random.default_rng(1).lognormal(0, 0.3, (200_000, ranks)).max(axis=1)
    mean_step = ranks / outcome.images_per_second
    assert mean_step == pytest.approx(0.1 * longest.mean(), rel=0.01)
    assert outcome.step_seconds[1] == pytest.approx(0.1 * np.percentile(longest, 99), rel=0.05)
    assert outcome.waiting == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("ranks", [1, 16])
def test_all_ranks_wait_for_the_last_batch(ranks):
    reader = Reader(prefetch=0)
    training = Training(ranks=ranks, batch_size=1, steps=2000)
    outcome = simulate(Store(latency=0.1, latency_sigma=0.5), reader, training)
    latencies = np.random.default_rng(1).lognormal(0, 0.5, (200_000, ranks))
    assert ranks / outcome.images_per_second == pytest.approx(
        0.1 * latencies.max(axis=1).mean(), rel=0.03
    )
    assert outcome.waiting == pytest.approx(1)
    own = latencies.mean() / latencies.max(axis=1).mean()
    assert outcome.waiting_own == pytest.approx(own, rel=0.03)


def test_one_slow_rank_is_what_all_wait_for():
    reader = Reader(threads=2, cores=2, core_seconds=0.001)
    training = replace(LONG, ranks=8, step_seconds=0.04, slow_factor=3)
    assert simulate(Store(), reader, training).waiting == pytest.approx(0, abs=1e-9)
    slow = simulate(Store(), reader, replace(training, slow_ranks=1))
    assert slow.images_per_second == pytest.approx(8 * 2 / 0.003, rel=0.02)
    assert slow.waiting == pytest.approx(1 - 0.04 / (64 * 0.003 / 2), rel=0.02)
    assert slow.waiting_own < slow.waiting / 7  # seven of the eight never wait for their own


def test_more_prefetch_hides_more_of_a_tail():
    store = Store(latency=0.02, latency_sigma=0.5, tail_chance=0.01, tail_latency=0.5)
    training = Training(ranks=8, batch_size=32, steps=200, step_seconds=0.16)
    waiting = [
        simulate(store, Reader(threads=8, cores=8, prefetch=depth), training).waiting
        for depth in (0, 1, 2, 8)
    ]
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[0] > 0.5 > 0.05 > waiting[-1]


@pytest.mark.parametrize("chance", [0.0, 0.2, 0.9])
def test_failed_requests_cost_their_pauses(chance):
    store = Store(latency=0.02, latency_sigma=0.3, failure_chance=chance)
    training = Training(batch_size=500, steps=12, warm_up=2)
    outcome = simulate(store, Reader(threads=20, cores=20, prefetch=4), training)
    assert outcome.images_per_second == pytest.approx(20 / mean_wait(store), rel=0.05)


def test_the_mean_wait_is_that_of_the_engines_retries(monkeypatch):
    pauses, rng = [], np.random.default_rng(0)
    monkeypatch.setattr(retry.time, "sleep", pauses.append)

    def request():
        pauses.append(0.02)
        if rng.random() < 0.3:
            raise ConnectionError

    for _ in range(4000):
        try:
            retry.Retry().call(request)
        except retry.GaveUpError:
            continue
    wait = mean_wait(Store(latency=0.02, failure_chance=0.3))
    assert sum(pauses) / 4000 == pytest.approx(wait, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_every_step_is_in_the_model_once_however_often_the_job_dies(seed):
    training = Training(
        ranks=3,
        batch_size=8,
        steps=200,
        step_seconds=0.1,
        seconds_to_failure=3.0,
        restart_seconds=2.0,
        checkpoint_steps=7,
    )
    outcome = simulate(Store(latency=0.005, latency_sigma=1), Reader(threads=4), training, seed)
    assert outcome.failures > 2
    assert outcome.history == tuple(range(200))
    made = 200 + outcome.lost_steps
    assert 0 < outcome.lost_steps < 7 * outcome.failures
    spent = made * 0.1 + outcome.failures * 2.0
    assert spent < outcome.seconds < spent + 0.3 * (outcome.failures + 1)  # loaders begin anew


def test_deaths_cost_what_the_arithmetic_says():
    assumed = scale_plan.Assumptions(checkpoint_minutes=10, checkpoint_seconds=0)
    assumed = replace(assumed, restart_minutes=5, hours_to_failure=100)
    lost = scale_plan.lost_share(assumed, 8 * 50)  # one death in two hours
    training = Training(
        batch_size=1,
        steps=20_000,
        step_seconds=10,  # 60 steps from checkpoint to checkpoint
        checkpoint_steps=60,
        seconds_to_failure=7200,
        restart_seconds=300,
    )
    outcome = simulate(Store(), Reader(), training)
    assert lost == pytest.approx((300 + 300) / 7200)
    deaths = outcome.seconds / 7200
    assert abs(outcome.failures - deaths) < 3 * math.sqrt(deaths)
    each = (outcome.seconds - 20_000 * 10) / outcome.failures
    assert each == pytest.approx(300 + 300, rel=0.2)


def test_a_seed_is_a_run():
    store = Store(latency=0.02, latency_sigma=1, failure_chance=0.01)
    arguments = store, Reader(threads=4, cores=2, core_seconds=0.003), replace(LONG, ranks=4)
    assert simulate(*arguments, seed=1) == simulate(*arguments, seed=1)
    assert simulate(*arguments, seed=1) != simulate(*arguments, seed=2)


def test_a_thinned_model_has_the_same_rates():
    store = Store(
        latency=0.02, latency_sigma=0.3, connection_bandwidth=1e6, requests_per_second=1e4
    )
    reader = Reader(
        threads=48,
        cores=8,
        processes=4,
        picture_bytes=1e4,
        python_seconds=1e-4,
        core_seconds=0.004,
        bandwidth=1e8,
    )
    training = Training(ranks=4, batch_size=64, steps=60, step_seconds=0.035)
    for few in ({}, {"processes": 1}, {"bandwidth": 1.2e7}, {"threads": 24}, {"cores": 4}):
        whole = store, replace(reader, **few), training
        thin = thinned(*whole, 4)
        parts, thin_parts = limits(*whole), limits(*thin)
        assert {name: 4 * rate for name, rate in thin_parts.items()} == pytest.approx(parts)
        of_whole, of_thin = simulate(*whole), simulate(*thin)
        assert 4 * of_thin.images_per_second == pytest.approx(of_whole.images_per_second, rel=0.05)
        assert of_thin.store_bandwidth == pytest.approx(of_whole.store_bandwidth, rel=0.05)
    with pytest.raises(ValueError, match="must divide the batch of 64 and 8 cores, got 3"):
        thinned(store, reader, training, 3)


def test_no_step_after_the_warm_up_is_refused():
    with pytest.raises(ValueError, match="more than the warm_up of 4, got 4"):
        simulate(Store(), Reader(), Training(steps=4))


def test_a_line_serves_in_the_order_of_arrival():
    clock, served = Clock(), []

    def process(number):
        yield line
        served.append((number, clock.now))
        yield 1.0
        line.leave()

    line = Line(clock, 2)
    for number in range(5):
        clock.resume(process(number))
    clock.run(math.inf)
    assert served == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    assert line.free == 2


@pytest.mark.parametrize("window", [1, 16])
def test_a_batch_of_sorted_shards_counts_as_many_samples_as_the_window_has_shards(window):
    shards, each, batch = 128, 1000, 256
    of_shard = np.random.default_rng(0).normal(size=shards)  # worst: all of a shard are alike
    shuffle = BlockShuffle([each] * shards, window)
    means = [
        of_shard[shuffle.order(0, epoch).ids(start, start + batch) // each].mean()
        for epoch in range(8)
        for start in range(0, shards * each - batch, 4 * each)
    ]
    counts_as = of_shard.var() / np.var(means)
    assert counts_as == pytest.approx(window, rel=0.35)


def test_every_assumption_is_an_option_and_counts(capsys):
    few = ["--no-simulation", "--gpus", "64", "--rates", "2500"]
    scale.main(few)
    usual = capsys.readouterr().out
    assert "| 2,500 | 64 | 160,000 | 5.5 | 0.5 | 17.6 |" in usual
    assert "JPEG, shards from the store | GPU: 2,500 (100%) |" in usual
    scale.main([*few, "--cores-per-gpu", "4"])
    assert "JPEG, shards from the store | cores: 1,8" in capsys.readouterr().out
    scale.main([*few, "--store-bandwidth", "7.04e9"])
    assert "JPEG, shards from the store | store: 1,000 (40%) |" in capsys.readouterr().out
    scale.main([*few, "--processes-per-gpu", "12", "--prefixes", "2"])
    assert "JPEG, a request each | requests: 172 (7%) |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        scale.main(["--gpus", "0"])


def test_own_drives_do_not_ask_the_store_and_own_shards_suffice():
    assumed = scale_plan.Assumptions(store_bandwidth=1.0, requests_per_prefix=1e-3)
    by_name = {way.name: way for way in scale_plan.ways(assumed)}
    for name in ("JPEG, own drives", "packed, own drives"):
        parts = limits(*scale_plan.model(assumed, by_name[name], 1024, 2500.0))
        assert min(parts, key=parts.get) == "GPU"
    assert scale_plan.largest_shard(assumed, 1024) == pytest.approx(1e8 * 110e3 / (1024 * 32))


@pytest.mark.slow
def test_the_report_and_the_chart(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scale, "CHART_GPUS", (2, 4))
    pytest.importorskip("matplotlib")
    scale.main(["--gpus", "8", "--rates", "2500"])
    table = capsys.readouterr().out
    rows = [line for line in table.splitlines() if line.startswith("| 2,500 | packed, own")]
    assert len(rows) == 2
    assert " 0.0% " in rows[1]
    scale.main(["--chart", str(tmp_path / "scale.png")])
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_simulation_says_what_a_loader_on_a_slow_store_does():
    pytest.importorskip("fsspec")
    from fusewarp.benchmarks.scripts import scale_calibration as calibration

    with calibration.slow_source() as (source, store):
        assert len(source) == calibration.PICTURES
        service = calibration.measure_service(source, store, [0.05], pictures=48)
        assert 0 < service.python < 0.05
        assert 0 < service.core < 0.1
        assert 0.05 <= service.waits[0.05] < 0.1
        cells = [calibration.Cell(0.05, 4, prefetch=1), calibration.Cell(0.05, 4, step_seconds=0.3)]
        rows = calibration.compare(source, store, service, cells, seconds=0.1, rounds=1)
    assert [row.bound for row in rows] == ["threads", "GPU"]
    assert rows[0].measured.images_per_second <= 4 / 0.05 * 1.1  # nobody is faster than the store
    assert abs(rows[0].error) < 0.5  # on a busy machine
    assert rows[1].measured.waiting < 0.5 < rows[0].measured.waiting
    table = calibration.as_markdown(service, rows[:1], rows[1:])
    assert "| 50 | 4 | threads |" in table
    assert "| 0 | 300 | 2 |" in table
