"""The stage of linear response: the covariance that the optimum implies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction import linear_response
from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.linear_response import LinearResponse
from bbvi.correction.pool import Normal
from bbvi.draws import orthogonal
from bbvi.fitting.records import Corrected
from bbvi.solvers.curvature import few_of
from bbvi.solvers.hessian import hessian as hessian_of
from bbvi.status import Status


def respond(corrected: Corrected) -> Corrected:
    """Linear response as a kind of posterior, or the reason why there is none."""
    optimum, job = corrected.optimum, corrected.job
    knowledge, q = optimum.knowledge, optimum.approximation
    if not optimum.begun:
        return corrected
    if optimum.widened is not None and optimum.known_all:
        # At its optimum the precision is the mean curvature: there is nothing that linear response could add.
        return replace(corrected, response=LinearResponse(optimum.widened.approximation.covariance, ""))
    if not job.method.gradients:
        return _answered(corrected, LinearResponse(None, "only values of the log joint are known"))
    if knowledge.draws is None:
        return _from_the_end(corrected)
    if q.dim > linear_response.DENSE_LIMIT:
        text = "there are too many latents; fit.covariance_of solves for some"
        return _answered(corrected, LinearResponse(None, text))
    hessian = knowledge.hessian
    if hessian is None and optimum.status is Status.CONVERGED:
        # Of many latents each draw takes as many products; a few draws are enough for a covariance to start from.
        eps = orthogonal(few_of(q.dim), q.dim, job.rng("response"))
        hessian = hessian_of(job.target, q.mean[None], np.log(q.sd)[None], eps[None])[2][0]
    if hessian is None:
        return _answered(corrected, LinearResponse(None, "the optimum was not reached"))
    return _answered(corrected, linear_response.from_hessian(hessian, np.log(q.sd)))


def _answered(corrected: Corrected, response: LinearResponse) -> Corrected:
    corrected = replace(corrected, response=response)
    if response.covariance is None:
        return corrected
    try:
        factor = np.linalg.cholesky(response.covariance)
    except np.linalg.LinAlgError:
        return replace(corrected, response=LinearResponse(None, "the covariance is not positive definite"))
    optimum = corrected.optimum
    normal = Normal(optimum.approximation.mean, factor)
    return corrected.with_kind(GaussianKind("linear-response", normal, optimum.mean_se))


def _from_the_end(corrected: Corrected) -> Corrected:
    """Linear response where steps ended that know no Hessian, and whether that is the optimum.

    Along strongly correlated latents stochastic steps can be so slow that the iterates look settled. The Hessian of all
    data, which linear response needs, knows how far a Newton step would still go.
    """
    optimum, job = corrected.optimum, corrected.job
    q, policy = optimum.approximation, job.policy
    if q.dim > policy.response_latents:
        return _answered(corrected, LinearResponse(None, "with so many latents stochastic steps do without"))
    if optimum.status is not Status.CONVERGED:
        return _answered(corrected, LinearResponse(None, "the optimum was not reached"))
    eps = orthogonal(policy.response_draws, q.dim, job.rng("response"))
    _, gradient, hessian = hessian_of(job.target, q.mean[None], np.log(q.sd)[None], eps[None])
    response = linear_response.from_hessian(hessian[0], np.log(q.sd))
    if response.covariance is not None:
        step = np.linalg.solve(hessian[0], gradient[0])[: q.dim] * q.sd
        left = float(np.max(np.abs(step) / np.sqrt(np.diag(response.covariance))))
        # The tolerance is one standard error.
        if left > 3 * job.tolerance:
            message = (
                f"The iterates settled {left:.2g} posterior sds from the optimum: latents are too correlated for "
                "stochastic steps. Go on with bbvi.FixedDraws() and init=fit."
            )
            corrected = replace(corrected, status=Status.BUDGET, message=message)
    return _answered(corrected, response)
