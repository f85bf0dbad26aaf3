"""The least number of cores, found by an exact solver, for small networks.

Each layer may be cut into any blocks of equal size, of which there are ``most`` at most, and slices of all
layers may share cores. Axons out are left out, as they depend on how receivers are cut.
"""

from __future__ import annotations

import itertools
from collections import Counter

from ortools.sat.python import cp_model

from netx_export.placement.cut import Cutter
from netx_export.placement.resources import image


def least_cores(net, chip, enough, *, most=9, seconds=60):
    """The least number of cores up to ``enough``, which is known to do; None without a proof."""
    cutter, model = Cutter(net, chip), cp_model.CpModel()
    capacity = cutter.capacity[:3].tolist()
    used = [model.new_bool_var("") for _ in range(enough)]
    loads, groups = [[[] for _ in capacity] for _ in used], [[] for _ in used]
    totals = [[] for _ in capacity]
    for layer in net.layers:
        channels, height, _ = image(layer.shape)
        ways = []
        for size, rows in itertools.product(range(1, channels + 1), range(1, height + 1)):
            blocks = -(-channels // size) * -(-height // rows)
            if blocks > most:
                continue
            parts = Counter(map(tuple, cutter.cut(layer, size, rows).local.reshape(-1, 3).tolist()))
            if any(need > limit for part in parts for need, limit in zip(part, capacity, strict=True)):
                continue
            ways.append(model.new_bool_var(""))
            for part, number in parts.items():  # slices of one size are alike: only their number counts
                counts = [model.new_int_var(0, number, "") for _ in used]
                model.add(sum(counts) == number * ways[-1])
                for core, count in enumerate(counts):
                    groups[core].append(count)
                    for load, need in zip(loads[core], part, strict=True):
                        load.append(need * count)
                for total, need in zip(totals, part, strict=True):
                    total.append(need * number * ways[-1])
        model.add_exactly_one(ways)
    for core, one in enumerate(used):
        model.add(sum(groups[core]) <= chip.groups.value * one)
        for load, limit in zip(loads[core], capacity, strict=True):
            model.add(sum(load) <= limit * one)
        if core:  # cores are alike
            model.add_implication(one, used[core - 1])
            model.add(sum(loads[core][0]) <= sum(loads[core - 1][0]))
    for total, limit in zip(totals, capacity, strict=True):
        model.add(sum(total) <= limit * sum(used))
    model.minimize(sum(used))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 2
    solver.parameters.random_seed = 0
    status = solver.solve(model)
    return int(solver.objective_value) if status == cp_model.OPTIMAL else None
