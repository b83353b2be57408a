"""Proving derivatives: of graphs against numeric differentiation, of ops at all their samples, of rules by sympy."""

from gradc.testing.gradients import ENTRIES, GradientError, Tolerance, at_float64, check_gradients
from gradc.testing.ops import Case, OpError, OpReport, check_op, gradient_samples, op_cases
from gradc.testing.proofs import Proof, ProofError, RuleProofs, prove_rules

__all__ = [
    "ENTRIES",
    "Case",
    "GradientError",
    "OpError",
    "OpReport",
    "Proof",
    "ProofError",
    "RuleProofs",
    "Tolerance",
    "at_float64",
    "check_gradients",
    "check_op",
    "gradient_samples",
    "op_cases",
    "prove_rules",
]
