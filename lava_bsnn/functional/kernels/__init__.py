"""Machine code for layers of neurons on a CPU: one pass over memory forward, one backward; norm takes two.

:mod:`lava_bsnn.functional.dynamics` and :mod:`~lava_bsnn.functional.multi_threshold` are the definition; what
these kernels do not cover runs there. A layer's memory is flat, ``[T, M]``: M neurons, sample by sample; of
what is the same at each step, ``[1, M]``; of what is not there, ``[1, 0]``. A current is
``gain * image + offset + skipped`` with factors ``[T or 1, N or 1, K]`` for K neurons in a row, which repeat
within the sample. Neurons are taken in blocks whose state stays in the cache over all steps. Arithmetic is
float32; images, spikes and their gradients may be bfloat16, as int16. Kernels release the GIL and are
compiled at their first call; the machine code is kept beside these files or in the user's cache folder.
"""
