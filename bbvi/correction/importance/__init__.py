"""The importance correction: rounds of weighted draws that carry a Gaussian approximation to the target.

Proposals, the pool of all draws, the checks that it must pass, and the rounds that go on until it does.
"""

from bbvi.correction.importance.result import ImportanceResult
from bbvi.correction.importance.rounds import correct, extended

__all__ = ["ImportanceResult", "correct", "extended"]
