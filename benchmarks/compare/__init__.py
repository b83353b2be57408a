"""A second opinion: gradc's values and gradients against those of JAX and PyTorch, in float64.

`programs` says what is computed, without saying by whom; `gradc_side`, `jax_side`, `torch_side` compute it and differentiate it,
each by itself; `exact` gives the truth to hundreds of digits; `judge` compares; `reasons` and `report` make the page.
"""
