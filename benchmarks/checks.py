"""The seven figures that were to be reached, computed from what the run itself measured."""

from collections.abc import Callable, Iterator
from typing import Any

from .contract import NotAvailable
from .results import Check, Result, Row, TableResult
from .work import BATCH_SIZE, SIDE

AT_MOST, AT_LEAST = "at most", "at least"
ALLOWANCE_MB = 400.0  # of memory, beside the batches ahead
USUAL_BATCH_MB = 4 * BATCH_SIZE * SIDE * SIDE * 3 / 1e6  # where it was not measured
USUAL_PREFETCH = 2
OWN_BATCHES = 2  # beside the ones ahead: the consumer's, and the one in work
ALIAS_GAIN_DB = 3.0  # a filter that halves the error's power
LARGE_ONES = "kernel.large."
AFTER_FIRST_EPOCH = (  # and the arrays of the same pictures
    ("cached", "decoded", 'cache="memory"'),
    ("packed", "packed.arrays", "PackedSource"),
)


def check_all(result: Result) -> list[Check]:
    """Judge every figure; those that this run did not measure are open."""
    return [_judge(result, *figure) for figure in _figures(result)]


Measure = Callable[[], float]
Figure = tuple[int, str, str, float, Measure]  # point, what, at most/at least, bound, measured


def _judge(
    result: Result, point: int, what: str, side: str, bound: float, measure: Measure
) -> Check:
    target = f"{side} {bound:g}"
    try:
        value = measure()
    except NotAvailable as reason:
        return Check(point, what, target, str(reason), None)
    met = value <= bound if side == AT_MOST else value >= bound
    return Check(point, what, target, f"{value:.4g}", met)


def _figures(result: Result) -> Iterator[Figure]:
    yield from _kernel(result)
    yield from _arrays(result)
    yield from _files(result)
    yield from _framework(result)
    yield from _minification(result)
    yield from _start(result)
    yield from _memory(result)


def _kernel(result: Result) -> Iterator[Figure]:
    def times(key: str, other: str) -> Measure:
        return lambda: _row(result, "warp", key).times(_row(result, "warp", other))

    def per_pixel(key: str) -> float:
        row, usual = _row(result, "warp", key), _row(result, "warp", "kernel")
        return row.times(usual) * usual.pixels / row.pixels

    def worst_large() -> float:
        rows = _table(result, "warp").rows
        keys = [row.key for row in rows if row.key.startswith(LARGE_ONES)]
        if not keys:
            raise NotAvailable("not measured")
        return max(per_pixel(key) for key in keys)

    yield 1, "kernel, times the convert floor", AT_MOST, 2.5, times("kernel", "convert")
    yield 1, "cv2.warpAffine + multiply, times the kernel", AT_LEAST, 4, times("opencv", "kernel")
    uint8 = times("opencv.uint8", "kernel.uint8")
    yield 1, "cv2.warpAffine alone, times the kernel to uint8", AT_LEAST, 3, uint8
    yield 1, "float16 out, times float32 out", AT_MOST, 1.0, times("kernel.float16", "kernel")
    for mode in ("constant", "reflect", "wrap", "mirror"):
        yield 1, f"fill {mode}, times nearest", AT_MOST, 1.3, times(f"kernel.{mode}", "kernel")
    for key, name in (("kernel.1", "1 channel"), ("kernel.4", "4 channels")):
        yield 1, f"{name}, times 3 channels, per pixel", AT_MOST, 1.3, times(key, "kernel")
    floats = times("kernel.from-float32", "kernel")
    yield 1, "float32 sources, times uint8 sources", AT_MOST, 1.5, floats
    yield 1, "3 x 4 colour matrix, times scale", AT_MOST, 1.25, times("kernel.matrix", "kernel")
    yield 1, "2048 x 2048 at its worst angle, times 224 x 224, per pixel", AT_MOST, 1.5, worst_large


def _arrays(result: Result) -> Iterator[Figure]:
    for key, name in (("loader", "Loader"), ("flow", "ImageDataGenerator.flow")):

        def share(key: str = key) -> float:
            return 1 / _row(result, "arrays", key).times(_row(result, "arrays", "kernel"))

        def gain(key: str = key) -> float:
            return 1 / _row(result, "arrays", key, 2).times(_row(result, "arrays", key, 1))

        yield 2, f"{name} from arrays, share of the kernel's rate, 1 thread", AT_LEAST, 0.8, share
        yield 2, f"{name} from arrays, 2 threads times 1", AT_LEAST, 1.8, gain

    def planning() -> float:
        return _row(result, "arrays", "plan").times(_row(result, "arrays", "loader"))

    yield 2, "sampling and composing, share of the loader's time", AT_MOST, 0.03, planning


def _files(result: Result) -> Iterator[Figure]:
    for threads in (1, 2):

        def share(key: str, other: str, threads: int = threads) -> float:
            own = _row(result, "jpeg", key, threads)
            return 1 / own.times(_row(result, "jpeg", other, threads))

        where = f"{threads} thread{'s' * (threads > 1)}"
        yield (
            3,
            f"Loader from JPEGs, share of decoding alone, {where}",
            AT_LEAST,
            0.9,
            lambda share=share: share("loader", "decode"),  # type: ignore[misc]
        )
        for key, arrays, name in AFTER_FIRST_EPOCH:
            yield (
                3,
                f"{name} after the first epoch, share of the array rate, {where}",
                AT_LEAST,
                0.85,
                lambda share=share, key=key, arrays=arrays: share(key, arrays),  # type: ignore[misc]
            )


def _framework(result: Result) -> Iterator[Figure]:
    def ratio(key: str) -> Measure:
        def measure() -> float:
            threads = max((row.threads for row in _table(result, "training").rows), default=1)
            own = _row(result, "training", key, threads)
            return own.times(_row(result, "training", "ready", threads))

        return measure

    yield (
        4,
        "hand-over of a batch of 64 to tf.data, ms",
        AT_MOST,
        0.5,
        lambda: _probe(result, "hand-over", "median_ms"),
    )
    yield 4, "training on a Loader, times ready-made tensors", AT_MOST, 1.05, ratio("loader")
    yield 4, "training on flow, times ready-made tensors", AT_MOST, 1.05, ratio("flow")


def _minification(result: Result) -> Iterator[Figure]:
    def cost() -> float:
        own = _row(result, "arrays", "minify.loader")
        return own.times(_row(result, "arrays", "minify.kernel"))

    def gain() -> float:
        plain = _probe(result, "aliasing", "plain_psnr_db")
        return _probe(result, "aliasing", "loader_psnr_db") - plain

    yield 5, "sources 4 times larger: Loader, times the plain warp", AT_MOST, 2, cost
    yield (
        5,
        "dB nearer to Pillow's antialiased reduce than the plain warp",
        AT_LEAST,
        ALIAS_GAIN_DB,
        gain,
    )


def _start(result: Result) -> Iterator[Figure]:
    cached = _probed(result, "start-up", "cached_first_batch_s")
    yield 6, "first batch of a process, kernels cached, s", AT_MOST, 2, cached
    warmed = _probed(result, "start-up", "warmup_s")
    yield 6, "fusewarp warmup, nothing cached, s", AT_MOST, 30, warmed


def _memory(result: Result) -> Iterator[Figure]:
    figures = result.probes.get("memory", {})
    batch = figures.get("batch_mb", USUAL_BATCH_MB)
    bound = (figures.get("prefetch", USUAL_PREFETCH) + OWN_BATCHES) * batch + ALLOWANCE_MB
    peak = _probed(result, "memory", "peak_above_import_mb")
    yield 7, "memory above the import over an epoch, MB", AT_MOST, round(bound), peak
    growth = _probed(result, "memory", "growth_mb")
    yield 7, "growth from the second tenth to the last, MB", AT_MOST, round(batch), growth


def _table(result: Result, table: str) -> TableResult:
    if table not in result.tables:
        raise NotAvailable("not measured")
    return result.tables[table]


def _row(result: Result, table: str, key: str, threads: int = 1) -> Row:
    rows = _table(result, table)
    row = rows.find(key, threads)
    if row is None:
        raise NotAvailable(rows.why_absent(key))
    return row


def _probe(result: Result, name: str, key: str) -> float:
    figures: dict[str, Any] = result.probes.get(name, {})
    if key not in figures:
        raise NotAvailable(figures.get("reason", "not measured"))
    return float(figures[key])


def _probed(result: Result, name: str, key: str) -> Measure:
    return lambda: _probe(result, name, key)
