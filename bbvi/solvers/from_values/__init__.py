"""Steps from values of the log joint alone."""
