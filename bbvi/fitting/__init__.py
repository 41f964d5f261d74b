"""The pipeline: from a model to a fit with a verdict."""

from bbvi.result.ways_out import register

register("extend", "bbvi.fitting.extend:extend")
