"""How well the reference posteriors themselves are known: the largest of their Monte Carlo errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bbvi import models


def make(out: Path) -> None:
    """Write ``references.md``."""
    known = [models.reference(name) for name in models.names()]
    mean = max(float(np.max(reference.mcse_mean / reference.sd)) for reference in known)
    sd = max(float(np.max(reference.mcse_sd / reference.sd)) for reference in known)
    text = f"The references have standard errors of their own, of at most {mean:.3f} sd and {100 * sd:.1f} %.\n"
    (out / "references.md").write_text(text, encoding="utf-8")
