"""The least number of cores, found by an exact solver, for small networks.

Each layer may be cut into any blocks of equal size, of which there are ``most`` at most, and slices of all layers
may share cores. Axons out are left out, as they depend on how receivers are cut.
"""

from __future__ import annotations

import itertools

from ortools.sat.python import cp_model

from netx_export.placement.cut import Cutter
from netx_export.placement.resources import image


def least_cores(net, chip, enough, *, most=8, seconds=60):
    """The least number of cores up to ``enough``, which is known to do; None if the time was too short."""
    cutter, model = Cutter(net, chip), cp_model.CpModel()
    capacity = cutter.capacity[:3].tolist()
    loads = [[[] for _ in capacity] for _ in range(enough)]
    groups = [[] for _ in range(enough)]
    for layer in net.layers:
        channels, height, _ = image(layer.shape)
        ways = []
        for size, rows in itertools.product(range(1, channels + 1), range(1, height + 1)):
            if -(-channels // size) * -(-height // rows) > most:
                continue
            parts = cutter.cut(layer, size, rows).local.reshape(-1, 3)
            if (parts <= capacity).all():
                way = model.new_bool_var("")
                ways.append(way)
                for part in parts.tolist():
                    places = [model.new_bool_var("") for _ in range(enough)]
                    model.add(sum(places) == way)
                    for core, place in enumerate(places):
                        groups[core].append(place)
                        for load, need in zip(loads[core], part, strict=True):
                            load.append(need * place)
        model.add_exactly_one(ways)
    used = [model.new_bool_var("") for _ in range(enough)]
    for core in range(enough):
        model.add(sum(groups[core]) <= chip.groups.value * used[core])
        for load, limit in zip(loads[core], capacity, strict=True):
            model.add(sum(load) <= limit * used[core])
        if core:
            model.add_implication(used[core], used[core - 1])
    model.minimize(sum(used))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 2
    solver.parameters.random_seed = 0
    status = solver.solve(model)
    return int(solver.objective_value) if status == cp_model.OPTIMAL else None
