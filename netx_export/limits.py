"""What Loihi, stock lava-dl 0.6.0 and our files accept: every hardware number stands here once."""

from __future__ import annotations

from lava_bsnn import encoding, fixed_point
from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY, ONE, STATE_BITS, STATE_MAX

WEIGHT_MIN, WEIGHT_MAX = -128, 127
"""Signed 8-bit weights. Beyond, stock lava-dl drops the lowest bit of mixed-sign weights."""

EVEN_WEIGHT_MIN, EVEN_WEIGHT_MAX = -256, 254
"""Weights of which the dropped bit is 0 anyway, since all of the layer are even."""

WIDE_WEIGHT_MAX = fixed_point.WIDE_WEIGHT_MAX
"""Largest magnitude of a weight in profile ``"extended"``: 12 bits, sign included. Loihi holds 8 bits in a
synapse, so that wider weights take two."""

SUM_MAX = (1 << 31) - 1
"""Largest magnitude of a weighted sum of messages, in weight steps: our simulators' 32 bits."""

BIAS_MIN, BIAS_MAX = -(1 << 12), (1 << 12) - 1
"""Signed 13-bit bias mantissa, exponent 6: in weight steps."""

THRESHOLD_MAX = (1 << 17) - 1
"""Unsigned 17-bit threshold mantissa, in weight steps."""

DECAY_MAX = NO_MEMORY
"""Largest decay; NetX stores ``iDecay`` and ``vDecay`` in 0..4096."""

MESSAGE_BITS_MAX = encoding.MESSAGE_BITS_MAX
"""Widest graded input message that NetX nets here use (``input_message_bits``)."""

BIAS_INPUT_BITS = 13
"""Width, sign included, of inputs that enter as biases."""

ACTIVATION_MAX = STATE_MAX >> ALIGN_BITS
"""Largest weighted input that the 24-bit current holds, in weight steps: 2^17 - 1."""

POTENTIAL_MAX = STATE_MAX
"""Largest current or potential in membrane steps: 24 bits, sign included."""

READOUT_MAX = fixed_point.READOUT_MAX
"""Largest potential of a readout: beyond, a neuron of the highest threshold would fire."""

EXPONENTS = (0, ALIGN_BITS)
"""Thresholds and biases are in membrane steps, or mantissas in weight steps."""

DELAY_MAX = 62
"""Longest axonal delay in steps; lava-dl clips longer ones."""

LEVELS_MAX = (1 << MESSAGE_BITS_MAX) - 1
"""Most levels of a multi-threshold neuron, whose spike counts are graded messages."""

MEMBRANE_BITS_MIN, MEMBRANE_BITS_MAX = 2, STATE_BITS
"""Width of a stored potential."""

MEMBRANE_SHIFT_MAX = STATE_BITS - 2
"""Largest step of a stored potential, as a power of two."""

FACTOR_MAX = 8 * ONE
"""Largest magnitude of ``lam`` and of an entry of a mixing matrix: 8."""

MULTIPLIER_MAX = 1 << 20
"""Largest magnitude of a gate's multiplier."""

GATE_SHIFT_MAX = 48
"""Largest shift of a gate."""

GATE_PRODUCT_MAX = (1 << 62) - 1
"""Largest sum times multiplier inside a gate: 63 bits, sign included."""

STEPS_MAX = 1 << 12
"""Most time steps of a gate or a mixing matrix."""
