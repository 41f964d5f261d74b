"""The command ``bbvi``."""

from .command import main

__all__ = ["main"]
