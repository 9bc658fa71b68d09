"""How long prompts and answers are, how much of a prompt is cached, and when requests arrive: published figures.

`code` and `conversation`: Azure LLM inference traces, 16 Nov 2023 (Patel et al., "Splitwise: Efficient generative LLM
inference using phase splitting", ISCA 2024; Azure/AzurePublicDataset, CC-BY). `long_context`: the Mooncake
conversation trace (Qin et al., "Mooncake: A KVCache-centric Disaggregated Architecture for LLM Serving", 2024).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUANTILES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Workload:
    """One kind of request: values at `QUANTILES`. `cached` is the share of the prompt seen before; () for none."""

    name: str
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    cached: tuple[float, ...] = ()


WORKLOADS = (
    Workload(
        "code",
        (17, 75, 147, 578, 1469, 2744, 5187, 7303, 7436, 7437),
        (6, 6, 7, 9, 13, 24, 55, 90, 251, 1899),
    ),
    Workload(
        "conversation",
        (29, 181, 207, 396, 1020, 1189, 2734, 4083, 4142, 14050),
        (16, 41, 54, 85, 129, 395, 424, 451, 601, 1000),
    ),
    Workload(
        "long_context",
        (894, 901, 964, 2306, 6909, 15367, 27367, 39550, 85400, 126195),
        (3, 10, 24, 156, 350, 472, 597, 698, 1118, 2000),
        (0.007, 0.018, 0.028, 0.069, 0.363, 0.712, 0.948, 0.976, 0.999, 1.0),
    ),
)

# Counts of code requests per 10 s have mean 26 and maximum 327, and gaps a coefficient of variation of 13: a Poisson
# process whose rate changes every half minute with this gamma shape. Conversations are near Poisson at a steady rate.
BURST_SHAPE = 0.36
BURST_S = 30
MAX_BINS = 200_000


def tokens(percentiles: tuple[int, ...], uniform: Floats) -> Ints:
    """Token counts from uniform numbers: geometric interpolation, which meets the published means best."""
    return np.rint(np.exp(np.interp(uniform, QUANTILES, np.log(percentiles)))).astype(np.int64)


def shares(percentiles: tuple[float, ...], uniform: Floats) -> Floats:
    """Shares from uniform numbers."""
    return np.interp(uniform, QUANTILES, percentiles)


# Requests by hour of a working day: a morning and an afternoon peak, a lunch break, some night jobs.
_HOURS = (2, 2, 2, 2, 2, 3, 6, 20, 60, 90, 100, 95, 60, 75, 95, 100, 90, 70, 40, 20, 12, 8, 5, 3)
_WEEKEND = 0.2


@dataclass(frozen=True)
class Arrivals:
    """When requests arrive within a stretch of time, and how likely one is a code request then."""

    edges: Floats  # microseconds UTC
    cumulative: Floats  # share of all requests before each edge, 0 to 1
    code_share: Floats  # per bin

    def times(self, quantiles: Floats) -> Ints:
        """The instants (microseconds UTC) by which these shares of all requests have arrived."""
        at = np.interp(quantiles, self.cumulative, self.edges).astype(np.int64)
        return np.minimum(at, int(self.edges[-1]) - 1)

    def code_shares(self, quantiles: Floats) -> Floats:
        """How likely a request is a code request, at the same places."""
        bins = np.searchsorted(self.cumulative, quantiles, side="right") - 1
        return self.code_share[np.minimum(bins, len(self.code_share) - 1)]


def arrivals(random: np.random.Generator, start: int, end: int, code_share: float) -> Arrivals:
    """Working days between two instants (microseconds UTC, end exclusive), with bursts of code requests."""
    bin_us = max(BURST_S * 1_000_000, (end - start) // MAX_BINS)
    edges = np.append(np.arange(start, end, bin_us, dtype=np.float64), float(end))
    middle = (edges[:-1] + edges[1:]) / 2
    hour = middle / 3_600e6 % 24
    weekday = (middle // 86_400e6 + 3) % 7  # 1 January 1970 was a Thursday
    day = np.interp(hour, np.arange(25), [*_HOURS, _HOURS[0]]) * np.where(weekday >= 5, _WEEKEND, 1.0)
    burst = random.gamma(BURST_SHAPE, 1 / BURST_SHAPE, len(middle))
    code = code_share * burst
    rate = day * (code + 1 - code_share) * np.diff(edges)
    cumulative = np.concatenate([[0.0], np.cumsum(rate) / rate.sum()])
    return Arrivals(edges, cumulative, code / (code + 1 - code_share))
