"""Triton kernels for layers of neurons on a GPU: one pass over memory forward, one and a half backward.

:mod:`lava_bsnn.functional.dynamics` and :mod:`~lava_bsnn.functional.multi_threshold` are the definition.
Memory is channels last: ``[T, N, P, C]`` with P positions and C channels of N samples; a current without
factors in front is one sample of P = M positions and one channel. A program takes a tile ``[BP, BC]`` of one
sample through all steps, its state in registers. Pointers move by a step's size, 0 for what is the same at
each step. Arithmetic is float32. Products and sums are rounded where torch's definition rounds them: what it
does in one operation is ``tl.math.fma`` here, the rest is launched without contraction. Sums over positions
are written per tile and added up in torch, so that they do not depend on the order of programs.
"""
