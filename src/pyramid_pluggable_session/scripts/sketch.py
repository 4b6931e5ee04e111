"""The distribution of numbers too many to keep."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

_ACCURACY: Final = 0.01
_GAMMA: Final = (1 + _ACCURACY) / (1 - _ACCURACY)


class Sketch:
    """Counts positive numbers and tells their quantiles, each to within 1 %.

    It is a DDSketch: numbers are counted in classes, each a little wider than the one below. There
    are about 1,000 classes between 1 and 500,000,000, and no number makes more.
    """

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self._count = 0

    def add(self, number: float) -> None:
        """Count a number. What is below 1 counts as 1."""
        self._classes[math.ceil(math.log(max(number, 1.0), _GAMMA))] += 1
        self._count += 1

    def quantile(self, share: float) -> float | None:
        """Return the number that so large a share is not above; None if there are no numbers."""
        left = max(1, math.ceil(share * self._count))
        for each in sorted(self._classes):
            left -= self._classes[each]
            if left <= 0:
                return 2 * _GAMMA**each / (_GAMMA + 1)
        return None
