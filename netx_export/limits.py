"""What Loihi and stock lava-dl 0.6.0 accept: every hardware number stands here once."""

from __future__ import annotations

from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY, STATE_MAX

WEIGHT_MIN, WEIGHT_MAX = -128, 127
"""Signed 8-bit weights. Beyond, stock lava-dl drops the lowest bit of mixed-sign weights."""

BIAS_MIN, BIAS_MAX = -(1 << 12), (1 << 12) - 1
"""Signed 13-bit bias mantissa, exponent 6: in weight steps."""

THRESHOLD_MAX = (1 << 17) - 1
"""Unsigned 17-bit threshold mantissa, in weight steps."""

DECAY_MAX = NO_MEMORY
"""Largest decay; NetX stores ``iDecay`` and ``vDecay`` in 0..4096."""

MESSAGE_BITS_MAX = 8
"""Widest graded input message that NetX nets here use (``input_message_bits``)."""

ACTIVATION_MAX = STATE_MAX >> ALIGN_BITS
"""Largest weighted input that the 24-bit current holds, in weight steps: 2^17 - 1."""
