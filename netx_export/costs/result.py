"""What a cost is: messages, synaptic operations and traffic by layer and core, and estimates from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .constants import LOIHI_COSTS, CostConstants

if TYPE_CHECKING:
    from lava_bsnn.analysis import EnergyEstimate


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer, or the input; figures are means over samples.

    Attributes:
        name: of the layer; ``"input"`` comes first.
        neurons: their number.
        messages: per sample.
        messages_per_step: at each step, ``T`` values.
        sops: synaptic operations of the layer's own synapses, per sample.
        macs: multiply-accumulates of the same synapses in a dense network, once over.
        core_messages: messages that the layer sends to other cores, per sample, once for each core;
            the input's come from outside. None without placement.
    """

    name: str
    neurons: int
    messages: float
    messages_per_step: tuple[float, ...]
    sops: float
    macs: int
    core_messages: float | None

    @property
    def rate(self) -> float:
        """Share of neuron-steps with a message."""
        return self.messages / (self.neurons * len(self.messages_per_step))


@dataclass(frozen=True, kw_only=True)
class CoreCost:
    """One core, per time step, means over samples and steps.

    Attributes:
        sops: synaptic operations.
        messages_in: messages that come from other cores or from outside.
        seconds: that the core works, an estimate.
    """

    sops: float
    messages_in: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Outcome of :func:`netx_export.cost`; figures are per sample.

    Attributes:
        samples: number of samples.
        steps: time steps of each; where F frames are mixed into T, the larger of both.
        layers: the input, then all layers.
        cores: in the order of the placement's; empty without.
        graded_sops: those SOPs that an input of intensities or images causes.
        accuracy: share of right classes; None without labels.
        constants: of the estimates.
    """

    samples: int
    steps: int
    layers: tuple[LayerCost, ...]
    cores: tuple[CoreCost, ...]
    graded_sops: float
    accuracy: float | None
    constants: CostConstants = LOIHI_COSTS

    @property
    def neurons(self) -> int:
        """Of all layers, without the input."""
        return sum(layer.neurons for layer in self.layers[1:])

    @property
    def sops(self) -> float:
        """Synaptic operations."""
        return sum(layer.sops for layer in self.layers)

    @property
    def messages(self) -> float:
        """Messages that are sent, the input's among them."""
        return sum(layer.messages for layer in self.layers)

    @property
    def core_messages(self) -> float | None:
        """Messages from core to core and from outside, once for each core; None without placement."""
        return sum(layer.core_messages or 0.0 for layer in self.layers) if self.cores else None

    @property
    def energy(self) -> float:
        """Estimated joule of SOPs, an update of each neuron at each step, and messages between cores.

        Without a placement each message is taken to go to one core. Power at rest, the host and
        input and output are not in it.
        """
        routed = self.messages if self.core_messages is None else self.core_messages
        return self.constants.energy(self.sops, self.neurons * self.steps, routed)

    @property
    def steps_per_second(self) -> float | None:
        """Estimate; None without placement.

        A step takes as long as the busiest core, ``SOPs * sop_time + neurons * neuron_time``, and the
        barrier behind it. Work is a mean over samples and steps: layers work on different steps at once.
        """
        if not self.cores:
            return None
        busiest = max(core.seconds for core in self.cores)
        return 1 / (busiest + 1e-9 * self.constants.sync_time.value)

    @property
    def ann(self) -> EnergyEstimate:
        """The dense twin, the same weights without time and a multiply-accumulate for each product; 45 nm."""
        from lava_bsnn.analysis import ENERGY_45NM, EnergyEstimate

        macs = float(sum(layer.macs for layer in self.layers))
        return EnergyEstimate(sops=0.0, macs=macs, constants=ENERGY_45NM)

    @property
    def full_precision(self) -> EnergyEstimate:
        """The spiking twin with 32-bit weights and these spikes; 45 nm.

        An accumulation for each SOP, a multiply-accumulate where intensities or images enter.
        """
        from lava_bsnn.analysis import ENERGY_45NM, EnergyEstimate

        acs = self.sops - self.graded_sops
        return EnergyEstimate(sops=acs, macs=self.graded_sops, constants=ENERGY_45NM)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, estimates with a name that says so; energies in microjoule."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "accuracy": self.accuracy,
            "messages_per_sample": self.messages,
            "core_messages_per_sample": self.core_messages,
            "sops_per_sample": self.sops,
            "energy_estimate_uj": 1e6 * self.energy,
            "steps_per_second_estimate": self.steps_per_second,
            "ann_macs": self.ann.macs,
            "ann_energy_estimate_uj": 1e6 * self.ann.joule,
            "full_precision_acs": self.full_precision.sops,
            "full_precision_macs": self.full_precision.macs,
            "full_precision_energy_estimate_uj": 1e6 * self.full_precision.joule,
            "constants": [asdict(one) for one in self.constants],
        }
