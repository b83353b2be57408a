"""Proving derivatives: of graphs against numeric differentiation, of ops at all their samples, of rules by sympy."""

from gradc.testing.gradients import ENTRIES, GradientError, Tolerance, at_float64, check_gradients
from gradc.testing.proofs import Proof, ProofError, RuleProofs, prove_rules

__all__ = [
    "ENTRIES",
    "GradientError",
    "Proof",
    "ProofError",
    "RuleProofs",
    "Tolerance",
    "at_float64",
    "check_gradients",
    "prove_rules",
]
