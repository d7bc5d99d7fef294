"""Errors of the engine that callers may want to tell apart."""


class SampleError(ValueError):
    """One sample cannot be read; the message names it. `Loader(on_error="skip")` leaves it out."""
