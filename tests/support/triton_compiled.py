"""Compile Triton's kernels for a GPU that need not be there; print each with its fused multiply-adds."""

from __future__ import annotations

import torch
import triton
from triton.backends.compiler import GPUTarget

from lava_bsnn import functional
from lava_bsnn.functional import backend, triton_machine
from lava_bsnn.functional.drive import Drive
from lava_bsnn.functional.dynamics import Spiking


class Driver:
    """A GPU of which only the kind is known."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


def compile_only(kernel, like, grid, *arguments, **constants):
    made = kernel.warmup(*arguments, **constants, num_warps=8, enable_fp_fusion=False, grid=grid)
    print(kernel.__name__, made.asm["ptx"].count("fma.rn.f32"))


if __name__ == "__main__":
    triton.runtime.driver.set_active(Driver())
    triton_machine._run = compile_only
    backend.machine = triton_machine
    keep, lam, theta = torch.tensor([0.6]), torch.rand(4), torch.tensor(0.7)
    kinds = zip(functional.SURROGATES.values(), (torch.float32, torch.bfloat16, torch.float16), strict=True)
    for place, (derivative, dtype) in enumerate(kinds):
        how = Spiking(threshold=1.1, derivative=derivative, detach_reset=place == 1, ignore_reset=place == 2)
        images = torch.randn(1 if place else 4, 2, 64, 7, 7).to(dtype).requires_grad_()
        factors = {"gain": torch.rand(4, 2, 64), "offset": torch.rand(1, 1, 64)}
        skipped = torch.randn(4, 2, 64, 7, 7) if place else None
        current = torch.randn(4, 2, 2048).to(dtype).requires_grad_()
        for drive in (Drive(images=images, **factors, skipped=skipped, num_steps=4), current):
            for leaf in (keep, lam, theta):
                leaf.requires_grad_(place == 0)
            functional.lif(drive, keep, torch.zeros(()), how)[0].sum().backward()
            functional.multi_threshold(drive, lam, theta, torch.zeros(()), 3)[0].sum().backward()
    moments = triton_machine.moments(images.detach())
    triton_machine.add_moment_gradients(images.detach(), images.detach(), *moments)
