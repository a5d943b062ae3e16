#!/usr/bin/env python3
"""Computes a step of `advnas dump cifar10` again, in double precision with PyTorch, and compares every tensor.

    python paper/checks/cifar10.py F.safetensors ...

Needs the packages torch, numpy and safetensors; any recent versions, no GPU. It was written from the section "One step as a file" of
paper/README.md and shares no code with the program that wrote the file: network, batch norms and differentiation are PyTorch's.

A tensor misses if its distance from ours is more than 1e-4 of its norm. Gradients that vanish by symmetry have no digits to compare: the
norm of one counts as a thousandth of the norm of all gradients together if it is less, so that a distance of 1e-7 of that is none; the same
for velocities, and for weights times the learning rate. The worst tensors are printed. Exit code: 0, or 1 if one misses.
"""

import argparse
import json
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open

TOLERANCE = 1e-4
# Of the norm of all gradients: what is smaller vanishes.
FLOOR = 1e-3


class Network:
    """The network of a dump; `parameters` by name, `weights` and `active` are tables [edges, candidates]."""

    def __init__(self, notes, parameters, weights, active):
        self.notes, self.parameters, self.weights, self.active = notes, parameters, weights, active
        self.epsilon = notes["batch_norm"]["epsilon"]
        # Of every batch norm with running statistics: mean and unbiased variance of the minibatch.
        self.statistics = {}
        # Sums of the candidates of every edge, all cells: their gradients are those of the outputs of the edge.
        self.edge_outputs = [[] for _ in notes["edges"]]
        # An edge whose output is zero in all cells.
        self.removed = None

    def norm(self, x, name=None):
        """[batch, channels, height, width]; with scale and shift if it has a name."""
        mean = x.mean((0, 2, 3))
        centred = x - mean[:, None, None]
        variance = (centred**2).mean((0, 2, 3))
        y = centred / torch.sqrt(variance + self.epsilon)[:, None, None]
        if name is None:
            return y
        count = x.numel() // x.shape[1]
        self.statistics[name] = (mean.detach(), variance.detach() * count / (count - 1))
        scale, shift = self.parameters[name + ".weight"], self.parameters[name + ".bias"]
        return y * scale[:, None, None] + shift[:, None, None]

    def convolution(self, x, name, stride=1):
        weight = self.parameters[name + ".conv.weight"]
        return F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)

    def candidate(self, operation, x, name):
        if operation == "skip_connect":
            return x
        if operation == "none":
            return torch.zeros_like(x)
        if operation == "avg_pool_3x3":
            return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        if operation.startswith("nor_conv_"):
            return self.norm(self.convolution(F.relu(x), name))
        raise ValueError(f"unknown operation {operation}")

    def cell(self, x, name):
        nodes = {0: x}
        for edge, (source, target) in enumerate(self.notes["edges"]):
            out = torch.zeros_like(x)
            for candidate, operation in enumerate(self.notes["candidates"]):
                if self.active[edge, candidate]:
                    place = f"{name}.edges.{edge}.candidates.{candidate}"
                    out = out + self.weights[edge, candidate] * self.candidate(operation, nodes[source], place)
            if edge == self.removed:
                out = torch.zeros_like(x)
            if out.requires_grad:
                out.retain_grad()
            self.edge_outputs[edge].append(out)
            nodes[target] = nodes[target] + out if target in nodes else out
        return nodes[3]

    def reduction(self, x, name):
        y = self.norm(self.convolution(F.relu(x), name + ".first", stride=2), name + ".first.norm")
        y = self.norm(self.convolution(F.relu(y), name + ".second"), name + ".second.norm")
        return y + self.convolution(F.avg_pool2d(x, 2, stride=2), name + ".shortcut")

    def logits(self, images):
        x = self.norm(self.convolution(images, "stem"), "stem.norm")
        for stage in range(3):
            if stage > 0:
                x = self.reduction(x, f"reductions.{stage - 1}")
            for cell in range(self.notes["skeleton"]["cells"]):
                x = self.cell(x, f"stages.{stage}.cells.{cell}")
        features = F.relu(self.norm(x, "head.norm")).mean((2, 3))
        return features @ self.parameters["head.linear.weight"].T + self.parameters["head.linear.bias"]


def read(path):
    """The notes, and all tensors; numbers in double precision."""
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("advnas")
        notes = json.loads(text) if text else {}
        if notes.get("experiment") != "cifar10" or "step" not in notes:
            sys.exit(f"error: {path} is no dump of a step on CIFAR-10")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    return notes, {name: x if x.dtype == torch.int64 else x.double() for name, x in tensors.items()}


def below(tensors, group):
    """The tensors of a group, by name."""
    return {name[len(group) + 1 :]: x for name, x in tensors.items() if name.startswith(group + "/")}


def takes_part(name, active):
    """Whether a parameter does: those of candidates that are not active don't."""
    if ".candidates." not in name:
        return True
    words = name.split(".")
    edge, candidate = (int(words[words.index(word) + 1]) for word in ("edges", "candidates"))
    return bool(active[edge, candidate])


def step(notes, tensors):
    """Everything that the step computes, under the names of the file."""
    active = tensors["proposal/active"]
    weights = tensors["proposal/weights"].clone().requires_grad_()
    parameters = {name: x.clone().requires_grad_() for name, x in below(tensors, "weights").items()}
    network = Network(notes, parameters, weights, active)
    logits = network.logits(tensors["images"])
    loss = F.cross_entropy(logits, tensors["labels"])
    loss.backward()
    or_zero = lambda x: torch.zeros_like(x) if x.grad is None else x.grad
    edge_gradient = or_zero(weights)
    ours = {"loss": loss.detach(), "logits": logits.detach(), "edge_gradient": edge_gradient, "feedback/loss": loss.detach()}
    for name, x in parameters.items():
        ours["gradient/" + name] = or_zero(x)

    # What the method wants beside the loss.
    if "feedback/edge_gradient" in tensors:
        feedback = edge_gradient.clone()
        if "unit outputs" in notes["want"]:
            for edge, outputs in enumerate(network.edge_outputs):
                of_ones = sum(out.grad.sum() for out in outputs if out.grad is not None)
                feedback[edge, active[edge] == 0] = of_ones
        ours["feedback/edge_gradient"] = feedback
    if "feedback/removals" in tensors:
        losses = []
        with torch.no_grad():
            for edge in range(len(notes["edges"])):
                without = Network(notes, parameters, weights, active)
                without.removed = edge
                losses.append(F.cross_entropy(without.logits(tensors["images"]), tensors["labels"]))
        ours["feedback/removals"] = torch.stack(losses)

    # The update: decay, clipping, Nesterov momentum.
    update = notes["update"]
    rate, momentum = update["learning_rate"], update["momentum"]
    values = {name: x.detach() for name, x in parameters.items()}
    slopes = {
        name: ours["gradient/" + name] + update["weight_decay"] * w
        for name, w in values.items()
        if takes_part(name, active)
    }
    norm = torch.sqrt(sum((slope**2).sum() for slope in slopes.values()))
    ours["gradient_norm"] = norm
    factor = min(1.0, update["clip_norm"] / norm.item())
    for name, w in values.items():
        v = tensors["velocity/" + name]
        if name in slopes:
            slope = factor * slopes[name]
            v = momentum * v + slope
            w = w - rate * (slope + momentum * v)
        ours["updated/" + name], ours["updated_velocity/" + name] = w, v

    # Running statistics.
    m = notes["batch_norm"]["momentum"]
    for name, statistics in network.statistics.items():
        for what, now in zip(("running_mean", "running_var"), statistics):
            before = tensors[f"running/{name}.{what}"]
            ours[f"updated_running/{name}.{what}"] = (1 - m) * before + m * now
    return ours


GIVEN = ("images", "labels", "proposal", "weights", "velocity", "running")


def compare(tensors, ours, rate):
    """Distances from ours over norms, by name, the largest first."""
    computed = {name for name in tensors if name.split("/")[0] not in GIVEN}
    if computed != set(ours):
        sys.exit(f"error: only in one of file and step: {sorted(computed ^ set(ours))}")
    whole = lambda group: torch.sqrt(sum((x**2).sum() for x in below(ours, group).values())).item()
    floors = {group: FLOOR * whole(group) for group in ("gradient", "updated_velocity")}
    floors["updated"] = rate * floors["updated_velocity"]
    rows = []
    for name, x in ours.items():
        if tensors[name].shape != x.shape:
            sys.exit(f"error: {name} has the shape {list(tensors[name].shape)}, expected {list(x.shape)}")
        distance = torch.linalg.vector_norm(tensors[name] - x).item()
        size = max(torch.linalg.vector_norm(x).item(), floors.get(name.split("/")[0], 0.0))
        # Both may be zero, exactly.
        relative = 0.0 if distance == 0.0 else distance / size if size > 0.0 else float("inf")
        rows.append((relative, distance, size, name))
    # NaN first.
    return sorted(rows, key=lambda row: (row[0] == row[0], -row[0]))


def main():
    parser = argparse.ArgumentParser(description="Computes dumped steps of `advnas dump cifar10` again and compares them.")
    parser.add_argument("files", nargs="+", metavar="F.safetensors")
    parser.add_argument("--worst", type=int, default=5, metavar="N", help="tensors to print of every file [default: 5]")
    arguments = parser.parse_args()
    missed = False
    for path in arguments.files:
        notes, tensors = read(path)
        rows = compare(tensors, step(notes, tensors), notes["update"]["learning_rate"])
        # Written so that NaN misses.
        misses = [name for relative, _, _, name in rows if not relative <= TOLERANCE]
        settings, skeleton, steady = notes["settings"], notes["skeleton"], notes["step"]["steady"]
        batch = tensors["labels"].numel()
        print(f"{path}: {settings['method']}, a step of {notes['step']['kind']}, {skeleton['cells']} cells a stage, "
              f"{skeleton['channels']} channels, minibatch of {batch}, {notes['provenance']['device']}")
        if not steady:
            print("  the step is not steady: a ReLU within rounding of zero may change some gradient's fourth digit")
        for relative, distance, size, name in rows[: arguments.worst]:
            print(f"  {relative:9.2e}  {distance:9.2e} of {size:9.2e}  {name}")
        print(f"  {len(rows)} tensors, {len(misses)} further off than {TOLERANCE:g}")
        missed |= bool(misses)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
