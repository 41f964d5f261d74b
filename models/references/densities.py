"""The gallery's posteriors written a second time, in NumPyro, to sample reference draws from.

One function for each model, of the same name, which takes the model's data by name. Sites carry the names of
the gallery's latents and stand on their constrained scale; deterministic sites are the derived quantities.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import gammaln, logsumexp
from numpyro.distributions import constraints

# Sites that NUTS samples non-centred; their density stays that of the centred statement.
NON_CENTERED = {"eight_schools_centered": ["theta"], "surgical": ["theta"]}


def positive(name, shape=()):
    """A positive site without a density of its own."""
    return numpyro.sample(name, dist.ImproperUniform(constraints.positive, (), shape))


def ordered(name, size):
    """An increasing vector without a density of its own."""
    return numpyro.sample(name, dist.ImproperUniform(constraints.ordered_vector, (), (size,)))


def normals(name, mean, sd, shape=()):
    return numpyro.sample(name, dist.Normal(mean, sd).expand(shape).to_event(len(shape)))


class NegativeBinomial(dist.NegativeBinomial2):
    """By log gamma functions: NumPyro's own beta function is good to seven digits only."""

    def log_prob(self, value):
        total = self.mean + self.concentration
        return (
            gammaln(value + self.concentration)
            - gammaln(self.concentration)
            - gammaln(value + 1.0)
            + self.concentration * jnp.log(self.concentration / total)
            + value * jnp.log(self.mean / total)
        )


def eight_schools(y, sigma):
    mu = normals("mu", 0.0, 5.0)
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    eta = normals("eta", 0.0, 1.0, (8,))
    theta = numpyro.deterministic("theta", mu + tau * eta)
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools_centered(y, sigma):
    mu = normals("mu", 0.0, 5.0)
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    theta = numpyro.sample("theta", dist.Normal(mu * jnp.ones(8), tau * jnp.ones(8)))
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def linear_regression(mpg, x):
    alpha = normals("alpha", 0.0, 50.0)
    beta = normals("beta", 0.0, 10.0, (3,))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(5.0))
    numpyro.sample("mpg", dist.Normal(alpha + x @ beta, sigma), obs=mpg)


def logistic_regression(response, x):
    alpha = normals("alpha", 0.0, 10.0)
    beta = normals("beta", 0.0, 10.0, (2,))
    numpyro.sample("response", dist.BernoulliLogits(alpha + x @ beta), obs=response)


def poisson_regression(deaths, x, log_exposure):
    alpha = normals("alpha", 0.0, 10.0)
    beta = normals("beta", 0.0, 10.0, (4,))
    numpyro.deterministic("ratio", jnp.exp(beta[0] + beta[3] * jnp.arange(1, 6)))
    numpyro.sample("deaths", dist.Poisson(jnp.exp(log_exposure + alpha + x @ beta)), obs=deaths)


def pumps(failures, time):
    alpha = numpyro.sample("alpha", dist.Exponential(1.0))
    beta = numpyro.sample("beta", dist.Gamma(0.1, 1.0))
    theta = numpyro.sample("theta", dist.Gamma(alpha, beta).expand((10,)))
    numpyro.sample("failures", dist.Poisson(theta * time), obs=failures)


def galaxies(y):
    mu = ordered("mu", 3)
    numpyro.factor("prior_mu", dist.Normal(jnp.array([10.0, 21.0, 33.0]), 2.0).log_prob(mu).sum())
    sigma = numpyro.sample("sigma", dist.LogNormal(jnp.log(1.5), 0.5).expand((3,)))
    weight = numpyro.sample("weight", dist.Dirichlet(2.0 * jnp.ones(3)))
    mixture = dist.MixtureSameFamily(dist.Categorical(weight), dist.Normal(mu, sigma))
    numpyro.sample("y", mixture, obs=y)


def autoregression(y, past):
    alpha = normals("alpha", 0.0, 5.0)
    beta = normals("beta", 0.0, 2.0, (4,))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(alpha + past @ beta, sigma), obs=y)


def runge_kutta(change, state, steps, step):
    """The states after each of ``steps`` classical Runge-Kutta steps, (steps, ...)."""

    def advance(state, _):
        k1 = change(state)
        k2 = change(state + 0.5 * step * k1)
        k3 = change(state + 0.5 * step * k2)
        k4 = change(state + step * k3)
        state = state + step * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        return state, state

    return jax.lax.scan(advance, state, None, length=steps)[1]


def lotka_volterra(pelts):
    alpha, gamma = positive("alpha"), positive("gamma")
    beta, delta = positive("beta"), positive("delta")
    numpyro.factor("prior_rates", dist.Normal(1.0, 0.5).log_prob(jnp.stack([alpha, gamma])).sum())
    numpyro.factor("prior_contact", dist.Normal(0.05, 0.05).log_prob(jnp.stack([beta, delta])).sum())
    initial = numpyro.sample("initial", dist.LogNormal(jnp.log(10.0), 1.0).expand((2,)))
    sigma = numpyro.sample("sigma", dist.LogNormal(-1.0, 1.0).expand((2,)))
    growth, contact = jnp.stack([alpha, -gamma]), jnp.stack([-beta, delta])
    path = runge_kutta(lambda state: state * (growth + contact * state[::-1]), initial, 60, 1 / 3)
    path = jnp.concatenate([initial[None], path[2::3]])
    numpyro.sample("pelts", dist.LogNormal(jnp.log(path), sigma), obs=pelts)


def seeds(germinated, total, x):
    alpha = normals("alpha", 0.0, 10.0, (4,))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    eta = normals("eta", 0.0, 1.0, (21,))
    numpyro.sample("germinated", dist.BinomialLogits(x @ alpha + sigma * eta, total), obs=germinated)


def robust_regression(loss, x):
    alpha = normals("alpha", 0.0, 100.0)
    beta = normals("beta", 0.0, 10.0, (3,))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(5.0))
    nu = numpyro.sample("nu", dist.Gamma(2.0, 0.1))
    numpyro.sample("loss", dist.StudentT(nu, alpha + x @ beta, sigma), obs=loss)


def negative_binomial(breaks, x):
    alpha = normals("alpha", 3.0, 2.0)
    beta = normals("beta", 0.0, 1.0, (5,))
    concentration = numpyro.sample("concentration", dist.Gamma(2.0, 0.1))
    numpyro.sample("breaks", NegativeBinomial(jnp.exp(alpha + x @ beta), concentration), obs=breaks)


def ordinal_regression(rating, x):
    cutpoint = ordered("cutpoint", 8)
    numpyro.factor("prior_cutpoint", dist.Normal(0.0, 5.0).log_prob(cutpoint).sum())
    beta = normals("beta", 0.0, 3.0, (3,))
    numpyro.sample("rating", dist.OrderedLogistic(x @ beta, cutpoint), obs=rating)


def sleepstudy(reaction, day):
    beta = numpyro.sample("beta", dist.Normal(jnp.array([250.0, 10.0]), jnp.array([50.0, 10.0])))
    tau = numpyro.sample("tau", dist.HalfNormal(jnp.array([50.0, 20.0])))
    factor = numpyro.sample("L", dist.LKJCholesky(2, 2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(50.0))
    correlation = factor @ factor.T
    numpyro.deterministic("rho", correlation[0, 1])
    covariance = jnp.outer(tau, tau) * correlation
    line = numpyro.sample("line", dist.MultivariateNormal(beta, covariance_matrix=covariance).expand((18,)))
    numpyro.sample("reaction", dist.Normal(line[:, 0, None] + jnp.outer(line[:, 1], day), sigma), obs=reaction)


def rats(weight, age):
    mu_alpha, mu_beta = normals("mu_alpha", 250.0, 50.0), normals("mu_beta", 6.0, 5.0)
    sigma_alpha = numpyro.sample("sigma_alpha", dist.HalfNormal(50.0))
    sigma_beta = numpyro.sample("sigma_beta", dist.HalfNormal(5.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(20.0))
    alpha = normals("alpha", mu_alpha, sigma_alpha, (30,))
    beta = normals("beta", mu_beta, sigma_beta, (30,))
    numpyro.sample("weight", dist.Normal(alpha[:, None] + jnp.outer(beta, age), sigma), obs=weight)


def surgical(deaths, operations):
    mu = normals("mu", 0.0, 3.0)
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    theta = numpyro.sample("theta", dist.Normal(mu * jnp.ones(12), sigma * jnp.ones(12)))
    rate = numpyro.deterministic("rate", jax.nn.sigmoid(theta))
    numpyro.sample("deaths", dist.Binomial(operations, rate), obs=deaths)


def dugongs(length, age):
    alpha = numpyro.sample("alpha", dist.HalfNormal(10.0))
    beta = numpyro.sample("beta", dist.HalfNormal(10.0))
    gamma = numpyro.sample("gamma", dist.Uniform(0.5, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    numpyro.sample("length", dist.Normal(alpha - beta * jnp.power(gamma, age), sigma), obs=length)


def coal_mining(count):
    early = numpyro.sample("early", dist.Exponential(0.5))
    late = numpyro.sample("late", dist.Exponential(0.5))
    years = jnp.arange(112)
    rate = jnp.where(years[None, :] < years[:, None], early, late)  # one row for each year of change
    log_weight = dist.Poisson(rate).log_prob(count).sum(axis=1) - jnp.log(112.0)
    numpyro.deterministic("change", jax.nn.softmax(log_weight) @ (1851 + years))
    numpyro.factor("count", logsumexp(log_weight))


def item_response(pattern):
    easiness = normals("easiness", 0.0, 3.0, (5,))
    spread = numpyro.sample("spread", dist.HalfNormal(2.0))
    node, weight = np.polynomial.hermite.hermgauss(21)
    ability, log_weight = np.sqrt(2) * node, np.log(weight / np.sqrt(np.pi))
    people = jnp.bincount(pattern, length=32)
    answers = jnp.array(list(itertools.product([0, 1], repeat=5)))
    bernoulli = dist.BernoulliLogits(easiness + spread * ability[:, None, None])
    log_probability = logsumexp(log_weight[:, None] + bernoulli.log_prob(answers).sum(-1), axis=0)
    numpyro.factor("answers", people @ log_probability)


def stochastic_volatility(returns):
    mu = normals("mu", 0.0, 2.0)
    phi = numpyro.sample("phi", dist.ImproperUniform(constraints.interval(-1.0, 1.0), (), ()))
    numpyro.factor("prior_phi", dist.Beta(20.0, 1.5).log_prob((phi + 1) / 2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.5))
    x = numpyro.sample("x", dist.ImproperUniform(constraints.real, (), (100,)))
    numpyro.factor("start", dist.Normal(0.0, (1 - phi**2) ** -0.5).log_prob(x[0]))
    numpyro.factor("steps", dist.Normal(phi * x[:-1], 1.0).log_prob(x[1:]).sum())
    numpyro.sample("returns", dist.Normal(0.0, jnp.exp(0.5 * (mu + sigma * x))), obs=returns)


def garch(returns):
    mu = normals("mu", 0.0, 1.0)
    level = numpyro.sample("level", dist.LogNormal(0.0, 1.0))
    weight = numpyro.sample("weight", dist.Dirichlet(jnp.ones(3)))

    def advance(variance, value):
        return weight @ jnp.stack([level, (value - mu) ** 2, variance]), variance

    variance = jax.lax.scan(advance, level, returns)[1]
    numpyro.sample("returns", dist.Normal(mu, jnp.sqrt(variance)), obs=returns)


def gp_classification(damage):
    temperature = [66, 70, 69, 68, 67, 72, 73, 70, 57, 63, 70, 78, 67, 53, 67, 75, 70, 81, 76, 79, 75, 76, 58]
    grid = np.array(sorted(set(temperature)))
    place = np.searchsorted(grid, temperature)
    mean = normals("mean", 0.0, 2.0)
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(2.0))
    length = numpyro.sample("length", dist.InverseGamma(5.0, 5.0))
    eta = normals("eta", 0.0, 1.0, (16,))
    square = (grid[:, None] - grid[None, :]) ** 2
    factor = jnp.linalg.cholesky(jnp.exp(-square / (200 * length**2)) + 1e-6 * jnp.eye(16))
    curve = mean + amplitude * factor @ eta
    cross = amplitude * jnp.exp(-((grid - 31) ** 2) / (200 * length**2))
    weights = jax.scipy.linalg.solve_triangular(factor.T, eta, lower=False)
    numpyro.deterministic("damage_31", jax.nn.sigmoid(mean + cross @ weights))
    numpyro.sample("damage", dist.Bernoulli(logits=curve[place]), obs=damage)


def survival(weeks, ended, treated):
    alpha = normals("alpha", 3.0, 2.0)
    beta = normals("beta", 0.0, 2.0)
    shape = numpyro.sample("shape", dist.Gamma(2.0, 1.0))
    numpyro.deterministic("ratio", jnp.exp(beta))
    log_time = jnp.log(weeks) - alpha - beta * treated
    log_hazard = jnp.log(shape) + shape * log_time - jnp.log(weeks)
    numpyro.factor("weeks", jnp.sum(ended * log_hazard - jnp.exp(shape * log_time)))


def bayesian_neural_network(y, x):
    slope = numpyro.sample("slope", dist.HalfNormal(2.0).expand((3,)))
    center = ordered("center", 3)
    numpyro.factor("prior_center", dist.Normal(0.0, 2.0).log_prob(center).sum())
    weight = normals("weight", 0.0, 2.0, (3,))
    bias = normals("bias", 0.0, 1.0)
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.5))

    def network(x):
        return bias + jnp.tanh(slope[:, None] * (x - center[:, None])).T @ weight

    numpyro.deterministic("f", network(jnp.arange(-3.0, 4.0)))
    numpyro.sample("y", dist.Normal(network(x), sigma), obs=y)


def horseshoe(progression, x):
    u = numpyro.sample("u", dist.Uniform(0.0, 1.0).expand((10,)))
    v = numpyro.sample("v", dist.Uniform(0.0, 1.0))
    eta = normals("eta", 0.0, 1.0, (10,))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    beta = numpyro.deterministic("beta", 0.1 * dist.HalfCauchy(1.0).icdf(v) * dist.HalfCauchy(1.0).icdf(u) * eta)
    numpyro.sample("progression", dist.Normal(x @ beta, sigma), obs=progression)


def boarding_school(in_bed):
    beta, gamma = positive("beta"), positive("gamma")
    numpyro.factor("prior", dist.Normal(2.0, 1.0).log_prob(beta) + dist.Normal(0.4, 0.5).log_prob(gamma))
    dispersion = numpyro.sample("dispersion", dist.Exponential(5.0))
    numpyro.deterministic("r0", beta / gamma)

    def change(state):
        infections = beta * state[0] * state[1] / 763
        return jnp.stack([-infections, infections - gamma * state[1]])

    infected = runge_kutta(change, jnp.array([762.0, 1.0]), 42, 1 / 3)[2::3, 1]
    numpyro.sample("in_bed", NegativeBinomial(infected, 1 / dispersion), obs=in_bed)


def hidden_markov(count):
    log_rate = ordered("log_rate", 2)
    numpyro.factor("prior_log_rate", dist.Normal(3.0, 1.0).log_prob(log_rate).sum())
    transition = numpyro.sample("transition", dist.Dirichlet(jnp.array([[6.0, 2.0], [2.0, 6.0]])).to_event(1))
    rate = numpyro.deterministic("rate", jnp.exp(log_rate))

    def advance(state, value):
        log_scale, probability = state
        emission = jnp.exp(dist.Poisson(rate).log_prob(value))
        joint = probability * emission
        total = joint.sum()
        return (log_scale + jnp.log(total), joint / total @ transition), None

    (log_likelihood, _), _ = jax.lax.scan(advance, (0.0, jnp.array([0.5, 0.5])), count)
    numpyro.factor("count", log_likelihood)


def local_level(flow):
    sd_flow = numpyro.sample("sd_flow", dist.HalfNormal(200.0))
    sd_level = numpyro.sample("sd_level", dist.HalfNormal(100.0))

    def advance(state, value):
        """Kalman filter in information form: precision of the level, and precision times mean."""
        precision, weighted = state
        mean, predictive = weighted / precision, 1 / precision + sd_flow**2
        log_density = dist.Normal(mean, jnp.sqrt(predictive)).log_prob(value)
        precision, weighted = precision + sd_flow**-2, weighted + value * sd_flow**-2
        loss = 1 / (1 + precision * sd_level**2)
        return (precision * loss, weighted * loss), log_density

    start = (200.0**-2, 1000.0 * 200.0**-2)
    (precision, weighted), log_density = jax.lax.scan(advance, start, flow)
    numpyro.deterministic("level", weighted / precision)
    numpyro.factor("flow", log_density.sum())


def michaelis_menten(rate, concentration, group):
    velocity = numpyro.sample("velocity", dist.LogNormal(jnp.log(200.0), 0.5).expand((2,)))
    half = numpyro.sample("half", dist.LogNormal(jnp.log(0.05), 1.0).expand((2,)))
    sigma = numpyro.sample("sigma", dist.HalfNormal(20.0))
    numpyro.deterministic("ratio", velocity[0] / velocity[1])
    mean = velocity[group] / (1 + half[group] / concentration)
    numpyro.sample("rate", dist.Normal(mean, sigma), obs=rate)


def dose_response(died, total, log_dose):
    alpha = normals("alpha", 0.0, 100.0)
    beta = normals("beta", 0.0, 100.0)
    numpyro.deterministic("ld50", -alpha / beta)
    numpyro.sample("died", dist.Binomial(total, logits=alpha + beta * log_dose), obs=died)
