"""Many short Hamiltonian chains in lockstep: from a rough approximation to draws of the posterior itself.

Starts, trajectories in warped coordinates and a metric, adaptation in windows, draws until they are accurate enough,
and what the chains say of themselves.
"""

from bbvi.correction.chains.draws import Chains, extended, run
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.chains.trajectories import Density

__all__ = ["ChainPolicy", "Chains", "Density", "extended", "run"]
