"""Why a fit stopped, with the sentence that a user reads."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Why a fit stopped. Compares equal to its name in lower case, for example ``fit.status == "converged"``."""

    CONVERGED = "converged"
    BUDGET = "budget"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"

    @property
    def sentence(self) -> str:
        """What the status means and what to do about it."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: "The fit converged: its optimum is known to the tolerance that was asked for.",
    Status.BUDGET: (
        "The fit ran out of its budget before it converged: raise max_evaluations or max_seconds, "
        "or continue from here with init=fit."
    ),
    Status.DIVERGED: (
        "The fit found no finite or no bounded optimum: check that the log joint is finite near the start "
        "and that the posterior is proper, give init=, or use tighter priors."
    ),
    Status.INTERRUPTED: "The fit was interrupted: this is the best approximation up to then.",
}
