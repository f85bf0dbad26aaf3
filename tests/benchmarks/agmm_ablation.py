"""What AGMM's open choices do on digits: accuracy, sign flips and firing rate, mean of some seeds.

    python tests/benchmarks/agmm_ablation.py [--epochs 12] [--seeds 3] [--variants 5]

Prints a Markdown table. The network is the demo's, with floating-point ends, trained with SGD as in the
paper: Adam divides by the size of the gradients, which takes away the calming that AGMM brings.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from lava_bsnn import analysis, data, models, training
from lava_bsnn.demo import MODEL

VARIANTS = {
    "vanilla (no gate)": ("binary", {}),
    "mean per channel, alpha [T] (default)": ("agmm", {}),
    "mean per channel, alpha [T, C]": ("agmm", {"alpha": "channel"}),
    "mean per layer, alpha [T]": ("agmm", {"per": "layer"}),
    "mean per layer, alpha [T, C]": ("agmm", {"per": "layer", "alpha": "channel"}),
}


def run(method, gate, epochs, seed, num_steps=4):
    """Test accuracy, mean flip ratio of 1-bit layers per epoch, and mean firing rate."""
    digits = data.digits(seed=seed)
    training.seed_everything(seed)
    settings = {"method": method, "num_steps": num_steps, "method_options": {"modulation_options": gate}}
    model = models.create("cnn", **{**MODEL, **settings})
    recorder = analysis.FlipRecorder(model)
    history = training.fit(
        model,
        (digits.train_images, digits.train_labels),
        (digits.test_images, digits.test_labels),
        epochs=epochs,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4),
        seed=seed,
        on_epoch=lambda _: recorder.record(),
    )
    activity = analysis.activity(model, torch.from_numpy(digits.test_images))
    rate = statistics.mean(layer.firing_rate for layer in activity.values())
    return history[-1].test_accuracy, statistics.mean(recorder.mean()), rate


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", type=int, default=len(VARIANTS), help="the first ones only")
    options = parser.parse_args()
    print("| gate | test accuracy | sign flips per epoch | firing rate |")
    print("| --- | --: | --: | --: |")
    for name, (method, gate) in list(VARIANTS.items())[: options.variants]:
        results = [run(method, gate, options.epochs, seed) for seed in range(options.seeds)]
        accuracy, flips, rate = (statistics.mean(column) for column in zip(*results, strict=True))
        print(f"| {name} | {accuracy:.2%} | {flips:.2%} | {rate:.1%} |", flush=True)


if __name__ == "__main__":
    main()
