"""What the rows in tf.data share: threads, and how a data set is run through."""

from typing import Any

from ..contract import Runner


def with_threads(dataset: Any, threads: int) -> Any:
    """Give a data set a thread pool of its own, for its maps and for the operations in them."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    options.deterministic = False
    return dataset.with_options(options)


def epochs(dataset: Any, count: int) -> Runner:
    """Run through a data set of `count` pictures, whole epochs, within C++."""

    def run(laps: int) -> int:
        for _ in dataset.repeat(laps):
            pass
        return laps * count

    return Runner(run)


def without_gpus() -> None:
    """Hide GPUs from TensorFlow: every row is one of the CPU."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
