"""The backward column of the primitives: what the gradients of a primitive's values are.

A formula takes the call and the gradient ``dy`` of its result, and returns the gradient of each value. What
the kernels compute is computed by them; the rest is NumPy's. Formulas without a source are those of any
textbook.
"""
