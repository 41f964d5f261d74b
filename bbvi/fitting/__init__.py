"""The pipeline: from a model to a fit with a verdict."""
