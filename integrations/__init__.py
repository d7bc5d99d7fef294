"""Adapters: each turns a loader into what one framework calls a data set, or trains with it."""
