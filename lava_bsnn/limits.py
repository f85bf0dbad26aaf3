"""What Loihi, our arithmetic and our files hold: every hardware number stands here once."""

from __future__ import annotations

from dataclasses import dataclass

from . import encoding, fixed_point
from .fixed_point import ALIGN_BITS, NO_MEMORY, ONE, STATE_BITS, STATE_MAX

BIAS_INPUT_BITS = 13
"""Width, sign included, of inputs that enter as biases."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Numbers of a target; by default those of our own arithmetic, which no target exceeds.

    Attributes:
        weight_min, weight_max: of a weight: 24 bits, sign included, so that one alone does not overflow a
            sum; ours have up to 12. Loihi holds 8 in a synapse, so that wider weights take several.
        even_weight_min, even_weight_max: of layers all of whose weights are even; None where that makes no
            difference.
        one_sign_max: of a weight in a synapse all of whose weights are positive.
        sum_max: magnitude of a weighted sum of messages, weight steps: our simulators' 32 bits.
        activation_max: of a step's weighted input, weight steps: what the 24-bit current holds.
        potential_max: of current and potential, membrane steps: 24 bits, sign included.
        wrapping_max: of a step's input to currents that wrap, membrane steps: what a convolution of Lava
            sends, 24 bits of weight steps.
        wrapped_max: what such a current may keep beyond 24 bits, since it wraps once per step only; with
            wrapping_max, 32 bits hold the sum.
        readout_max: potential of a readout; beyond, a neuron of the highest threshold would fire.
        bias_min, bias_max: signed 13-bit mantissa, exponent 6: in weight steps.
        threshold_max: unsigned 17-bit mantissa, in weight steps.
        unreachable_max: of the threshold of a readout; from 2^17 on none is reached, in Lava's 32 bits.
        soft_threshold_max: of a soft reset, membrane steps: half of it is a mantissa of 12 bits.
        exponents: thresholds and biases are in membrane steps, or mantissas in weight steps.
        decay_max: NetX stores ``iDecay`` and ``vDecay`` in 0..4096.
        message_bits_max: width of a graded message (``input_message_bits``).
        levels_max: of a multi-threshold neuron, whose spike counts are graded messages.
        delay_max: longest axonal delay in steps; lava-dl clips longer ones.
        membrane_bits_min, membrane_bits_max: width of a stored potential.
        membrane_shift_max: step of a stored potential, as a power of two.
        factor_max: magnitude of ``lam`` and of an entry of a mixing matrix: 8.
        multiplier_max, gate_shift_max: of a gate.
        gate_product_max: sum times multiplier inside a gate: 63 bits, sign included.
        steps_max: time steps of a gate or a mixing matrix.
        classes_max, name_max: names of classes, and characters of a name, which files hold as text.
        channels_max: channels of an encoding with mean and deviation, which files hold as text.
        encoding_max: magnitude of a number of an encoding.
    """

    weight_min: int = -STATE_MAX
    weight_max: int = STATE_MAX
    even_weight_min: int | None = None
    even_weight_max: int | None = None
    one_sign_max: int = 255
    sum_max: int = (1 << 31) - 1
    activation_max: int = STATE_MAX >> ALIGN_BITS
    potential_max: int = STATE_MAX
    wrapping_max: int = STATE_MAX << ALIGN_BITS
    wrapped_max: int = 1 << 30
    readout_max: int = fixed_point.READOUT_MAX
    bias_min: int = -(1 << 12)
    bias_max: int = (1 << 12) - 1
    threshold_max: int = (1 << 17) - 1
    unreachable_max: int = (1 << 24) - 1
    soft_threshold_max: int = ((1 << 12) - 1) << (ALIGN_BITS + 1)
    exponents: tuple[int, ...] = (0, ALIGN_BITS)
    decay_max: int = NO_MEMORY
    message_bits_max: int = encoding.MESSAGE_BITS_MAX
    levels_max: int = (1 << encoding.MESSAGE_BITS_MAX) - 1
    delay_max: int = 62
    membrane_bits_min: int = 2
    membrane_bits_max: int = STATE_BITS
    membrane_shift_max: int = STATE_BITS - 2
    factor_max: int = 8 * ONE
    multiplier_max: int = 1 << 20
    gate_shift_max: int = 48
    gate_product_max: int = (1 << 62) - 1
    steps_max: int = 1 << 12
    classes_max: int = 100_000
    name_max: int = 256
    channels_max: int = 1 << 12
    encoding_max: int = (1 << 31) - 1


LIMITS = Limits()
"""Of our arithmetic and our files."""

LOIHI = Limits(
    weight_min=-128,
    weight_max=127,
    even_weight_min=-256,
    even_weight_max=254,
    membrane_bits_min=STATE_BITS,
    exponents=(ALIGN_BITS,),
)
"""Of Loihi and unmodified lava-dl 0.6.0, with signed 8-bit weights; beyond, stock lava-dl drops the lowest
bit where signs are mixed, so that even ones may be larger."""
