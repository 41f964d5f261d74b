"""What a fit may spend, and on what: budgets of evaluations and shares of the time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bbvi.correction.chains import ChainPolicy


@dataclass(frozen=True)
class BudgetPolicy:
    """Budgets of the stages, in evaluations per draw, and shares of ``max_seconds``.

    Attributes
    ----------
    candidates, candidates_from_values : int
        Starting points that are looked at.
    searched, searched_per_latent : float
        Limits of evaluations, in all and for each latent, below which modes are not looked for: the search takes about
        as many.
    candidates_until, checks_until, search_until, around_until : float
        Shares of ``max_seconds`` that candidates, checks, the search and a look around may take before they are cut
        short.
    searched_until : float
        Share of ``max_evaluations`` beyond which the search is cut short; it begins nothing beyond a half.
    checks_share : float
        Share of what ``max_evaluations`` leaves that a check of every latent, or the curvature at a start, may take.
    lines, dear_lines : int
        Lines along which gradients are compared with values, at the most, and where every draw counts.
    kept : int
        Evaluations of any limit that a solver leaves for the ELBO of fresh draws.
    elbo_draws, fewest_elbo_draws, elbo_share : float
        Fresh draws for the ELBO where gradients are known; from values a share of what the fit has taken, at least so
        many. With 1,000 the standard error of an ELBO is 3 % of the sd of log p - log q.
    few_dear_draws, elbo_error : int, float
        Fresh draws that the ELBO begins with where every draw counts, and the error in nats below which these are
        enough: a tenth of a nat is what anybody compares.
    patience : float
        Seconds that a fit may still take for its ELBO after an interrupt.
    digits : float
        How many units in the last place of a log joint its rounding may come to.
    rounded, swamped : float
        Nats of rounding from which a posterior is in doubt, and from which nothing is known of it: a change of a log
        density by x nats moves figures by about x sds at the most.
    response_draws : int
        Draws for linear response where stochastic steps end.
    response_latents : int
        Latents above which stochastic steps do without linear response.
    most_weighted : int
        Latents above which importance weights degenerate whatever the approximation.
    surely_weighted : int
        Latents up to which weights are drawn without asking; calibrated: between 60 and 200 they were found reliable
        and wrong.
    trial : int
        Draws that show whether the Gaussian of more latents is the posterior.
    exact : float
        Sd of log p - log q, in nats, below which a Gaussian is the posterior: where the weights are exp(sd x) with x
        standard normal, no mean moves by more than this many sds.
    easily_weighted : int
        Latents above which one round of weighted draws shows all that can be had.
    narrow : int
        Elements per draw of the largest operation up to which a draw costs next to nothing.
    cheap_draws, fewest_draws, most_draws, draws_per_gradient : float
        Weighted draws: the least where a draw costs next to nothing and elsewhere, the most, and how many for each
        gradient that the fit has taken.
    most_limited : int
        Weighted draws where the user says what they may cost.
    rounds, limited_rounds : int
        Rounds of weighted draws, and where the user says what they may cost.
    worth : int
        Effective size of the weighted draws where a draw costs next to nothing: as many as users commonly ask for.
    values, most_values : int
        Evaluations in all at which a fit from values ends if nobody set a limit and its solver needed no more; and the
        most that its weights may take of any limit.
    fewest_weights : int
        Weighted draws below which none are worth drawing.
    chains : ChainPolicy
    many, kick_of_many : int, float
        Latents from which energy errors, which grow with their number, bound the step size of chains, and the kick of
        an integrator with smaller ones: a fifth to a third fewer gradients for 2,000 latents, measured. It is stable
        for shorter steps only than the leapfrog is, which tells in funnels of fewer.
    neck, neck_of_few : float
        Correlation of a latent with the widths of fifty others and more from which chains are not relied on, even if no
        trajectory diverges: of the calibrated posteriors that chains have right it is 0.66 at most, of centred groups
        whose neck they miss 0.70 and more. And of fewer, 0.74 and 0.76.
    draws_between_modes : int
        Draws of each chain at the least where there is another mode: R-hat must show that chains go there and back.
    chain_candidates : int
        Draws of a Gaussian for each starting point of chains, of which the weightiest are taken.
    fewest_chain_gradients : int
        Gradients below which chains are not begun.
    chain_gradients, chain_gradients_looped, chain_gradients_share : float
        The most gradients that chains take where nobody set a limit, where all draws go at once and where they are
        looped over; more, if the fit itself has taken many.
    active_latents : int
        Latents up to which a surrogate is the default for values alone.
    few_elbo_draws, free_elbo_draws : int
        Fresh draws for the ELBO where a surrogate says the rest, and those of the surrogate, which cost nothing.
    fresh, most_fresh : int
        Evaluations by which a surrogate is checked that it was not fitted to, the least and the most.
    fresh_share, more_fresh_share : float
        Of all evaluations so far, that they are at first, and where these leave doubts.
    symmetries : int
        Evaluations that a look for symmetries needs, about.
    looks : int
        Looks around, each from a better place than the one before.
    places : int
        Places that they found from which weighted draws begin besides.
    further, further_evaluations : float, int
        What a fit that goes on after one needs at the least, as a share of all evaluations so far; and what it may take
        if nobody set a limit, or as many as so far.
    again : int
        Draws at which the log joint is evaluated once more at the end, to see whether it gives what it gave.
    wandered : float
        Ratio of the chains' sds to those of an approximation that found no optimum, above which a posterior looks
        improper.
    good_khat, contradicted, by_chance : float
        k-hat of weights that are good enough to contradict chains, the least difference of an sd at which they do, and
        the probability that the errors of both bring the worst of all rows so far apart; calibrated: at a tenth of that
        an sd that a heavy tail makes was reliable and 17 % too small.
    slices_latents, slices_numbers : int
        Latents, and latents times elements per draw, up to which a grid of Hessians is within reason.
    """

    candidates: int = 32
    candidates_from_values: int = 9
    searched: float = 1000
    searched_per_latent: float = 800
    candidates_until: float = 0.2
    checks_until: float = 0.4
    search_until: float = 0.6
    around_until: float = 0.8
    searched_until: float = 0.85
    checks_share: float = 0.2
    lines: int = 20
    dear_lines: int = 4
    kept: int = 16
    elbo_draws: int = 1000
    fewest_elbo_draws: int = 60
    elbo_share: float = 0.12
    few_dear_draws: int = 128
    elbo_error: float = 0.05
    patience: float = 0.5
    digits: float = 4.0
    rounded: float = 0.05
    swamped: float = 0.5
    response_draws: int = 32
    response_latents: int = 200
    most_weighted: int = 1000
    surely_weighted: int = 50
    trial: int = 400
    exact: float = 0.03
    easily_weighted: int = 200
    narrow: int = 1000
    cheap_draws: int = 40_000
    fewest_draws: int = 5_000
    most_draws: int = 60_000
    draws_per_gradient: float = 1.5
    most_limited: int = 200_000
    rounds: int = 8
    limited_rounds: int = 12
    worth: int = 4_000
    values: int = 5_000
    most_values: int = 20_000
    fewest_weights: int = 100
    active_latents: int = 12
    few_elbo_draws: int = 16
    free_elbo_draws: int = 2048
    fresh: int = 16
    most_fresh: int = 400
    fresh_share: float = 0.04
    more_fresh_share: float = 0.35
    looks: int = 3
    places: int = 3
    further: float = 0.15
    further_evaluations: int = 200
    symmetries: int = 20
    again: int = 4
    chains: ChainPolicy = field(default_factory=ChainPolicy)
    many: int = 1000
    kick_of_many: float = 0.2118
    neck: float = 0.68
    neck_of_few: float = 0.75
    draws_between_modes: int = 120
    chain_candidates: int = 32
    fewest_chain_gradients: int = 4_000
    chain_gradients: int = 1_500_000
    chain_gradients_looped: int = 40_000
    chain_gradients_share: float = 10.0
    wandered: float = 1000.0
    good_khat: float = 0.5
    contradicted: float = 0.06
    by_chance: float = 0.05
    slices_latents: int = 60
    slices_numbers: int = 2**16

    def searchable(self, max_evaluations: float, dim: int) -> bool:
        """Whether a limit leaves room to look for modes."""
        return max_evaluations >= self.searched + self.searched_per_latent * dim

    def elbo(self, gradients: bool, spent: int) -> int:
        """Fresh draws for the ELBO of a fit that has taken so many evaluations."""
        if gradients:
            return self.elbo_draws
        return int(np.clip(self.elbo_share * spent, self.fewest_elbo_draws, self.elbo_draws))
