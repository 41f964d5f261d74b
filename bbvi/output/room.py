"""Which rows of a summary are shown where there is no room for all of them."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 40


def shown(labels: Sequence[str], most: int = MOST) -> list[int]:
    """Places of at most so many rows, in their order: short arrays before long ones, of which the beginning is shown.

    What stands alone tells more than one of hundreds: scales, and the derived quantities that are declared last.
    """
    arrays: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        arrays.setdefault(label.partition("[")[0], []).append(place)
    chosen: list[int] = []
    for array in sorted(arrays.values(), key=len):
        chosen += array[: most - len(chosen)]
    return sorted(chosen)
