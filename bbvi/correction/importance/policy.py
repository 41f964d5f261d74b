"""What decides how weighted draws are taken, and when they are accurate enough to be relied on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class CheckPolicy:
    """When weighted draws pass; `make calibrate` counts what these let through, by family and by interval.

    Attributes
    ----------
    enough, passing : float
        Standard errors of a mean, in sds, and of an sd, relative, at which rounds end, and up to which the result
        passes: three of them are still within 0.1 sd and 10 %.
    khat_enough, khat_passing : float
        The same of k-hat; 0.7 is where a mean is lost (Vehtari et al. 2024, section 3.2.4), and an sd is lost before.
    light, hidden : float
        k-hat of its terms from which the standard error of an sd is too small, and by how much per unit.
    many_draws : int
        Draws from which kurtosis is no cause to doubt a standard error.
    moving : float
        What the last round of draws may have moved.
    fewest, fewest_for_tails : int
        Draws below which no tail is seen, and from which the tail of each quantity is looked at.
    tail_draws : int
        Draws, evenly weighted, from which the shapes of tails are taken.
    heavy_tail : float
        Pareto shape of a quantity itself from which its variance may not exist: 1/2, less what samples hide.
    funnel, funnel_of_many, many : float
        Correlation of a latent with the others' squared length from which a target counts as a funnel; of `many`
        latents, the necks of weaker ones are already out of reach.
    valley, lump : float
        A valley is deeper than this share of the lower peak, and has this share of the mass on either side.
    """

    enough: float = 0.02
    passing: float = 0.03
    khat_enough: float = 0.5
    khat_passing: float = 0.6
    light: float = 0.35
    hidden: float = 10.0
    many_draws: int = 4000
    moving: float = 0.05
    fewest: int = 250
    fewest_for_tails: int = 1000
    tail_draws: int = 2000
    heavy_tail: float = 0.35
    funnel: float = 0.7
    funnel_of_many: float = 0.6
    many: int = 20
    valley: float = 0.4
    lump: float = 0.04


@dataclass(frozen=True)
class SlicePolicy:
    """Along which latents conditional Gaussians are laid out, and how (see `bbvi.correction.importance.slices`).

    Attributes
    ----------
    steers, skewed : float
        Correlation with the others' squared length, and skewness, from which slices along a latent are worth their
        cost.
    leaders : int
        Latents along which there are slices, at the most, in one round.
    screened : int
        Draws from which that is seen.
    steps : int
        Newton steps for the modes of the others.
    deep : float
        Nats below the highest at which a slice holds nothing that matters.
    flattened : float
        Power of the marginal that the shares of slices follow, so that tails get draws enough to be measured.
    least_share : float
        Share below which a slice is left out.
    """

    steers: float = 0.12
    skewed: float = 0.4
    leaders: int = 3
    screened: int = 3000
    steps: int = 10
    deep: float = 14.0
    flattened: float = 0.6
    least_share: float = 0.004


@dataclass(frozen=True)
class ImportancePolicy:
    """How rounds of weighted draws are taken.

    Attributes
    ----------
    first, first_per_latent : int
        Draws of the first round, and for each latent; near-Gaussian targets need no second.
    growth : float
        Factor by which a round is larger than the last.
    smallest : int
        Draws below which no round is worth beginning.
    stretched : float
        Share of the first round that goes far out along the latents and the principal axes, to see what a Gaussian
        would miss.
    sliced : int
        Rounds up to which slices are added.
    still : float
        What a further round may move, for it to be the last: standard errors do not see a region that no draw has
        reached.
    followed : int
        Latents above which a result comes from draws that no proposal was fitted to: their covariance has D (D + 1) / 2
        entries, and what is fitted to the noise of the draws makes sds too small (by 10 % at 60 latents and 5,000
        draws, measured).
    components, fitted_to : int
        Gaussians in a mixture, at the most, and the draws, evenly weighted, that it is fitted to.
    kept, kept_per_latent : float
        Effective draws at the least, and for each latent, that moments are taken from; weights are flattened to it.
    bends, most_bent : float, int
        Strength from which bends and widths along a latent matter, and the latents up to which they are looked for.
    body, body_with_slices, tail, slices : float
        Shares of a mixture: of its Gaussians, without slices and with them; of each of the two heavier tails; and of
        all slices.
    rounding : float
        Sd relative to size below which a column is a constant with rounding errors.
    checks : CheckPolicy
    """

    first: int = 1000
    first_per_latent: int = 50
    growth: float = 1.4
    smallest: int = 200
    stretched: float = 0.2
    sliced: int = 5
    still: float = 0.03
    followed: int = 20
    components: int = 6
    fitted_to: int = 1500
    kept: float = 100.0
    kept_per_latent: float = 8.0
    bends: float = 0.15
    most_bent: int = 30
    body: float = 0.7
    body_with_slices: float = 0.4
    tail: float = 0.15
    slices: float = 0.3
    rounding: float = 1e-9
    checks: CheckPolicy = field(default_factory=CheckPolicy)


CHECKS, SLICES, POLICY = CheckPolicy(), SlicePolicy(), ImportancePolicy()
