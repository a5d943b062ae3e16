"""What a user would otherwise write: the supernet of section 5.2 in PyTorch, timed by itself for `gpu/acceptance.sh`. One JSON line.

The network and its steps are those of the README of `paper/`: stem, three stages of cells of one drawn candidate an edge out of four (identity, 1x1 and
3x3 convolution, 3x3 average pooling), residual blocks between them, head; minibatches of 64.

--asked    w: forward, backward to the weights that take part, clipping, SGD with Nesterov momentum; theta: forward, backward to the edge weights alone
--cells    uniform: another architecture at every step; conv3: 3x3 convolutions on all edges
--variant  eager; compile: torch.compile of forward and loss; graphs: the whole step in one CUDA graph. The last two need a fixed architecture
--tf32     tensor cores for convolutions and products; without it single precision, which is not PyTorch's default. The line's `mode` says which

w steps are timed ten in a row between events, as nobody waits for their answer; theta steps by the wall, with the answer on the host. Minibatches lie on
the device; crops, flips and normalisation are left out.
"""
import argparse
import json
import random
import statistics
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--asked", choices=["w", "theta"], default="w")
parser.add_argument("--cells", choices=["uniform", "conv3"], default="conv3")
parser.add_argument("--variant", choices=["eager", "compile", "graphs"], default="eager")
parser.add_argument("--tf32", action="store_true")
parser.add_argument("--device", default="cuda")
parser.add_argument("--small", action="store_true", help="a tiny network, for a test")
parser.add_argument("--times", type=int, default=30)
args = parser.parse_args()
if args.cells == "uniform" and args.variant != "eager":
    parser.error("torch.compile and graphs need a fixed architecture: --cells conv3")
if args.variant == "graphs" and not args.device.startswith("cuda"):
    parser.error("graphs need a CUDA device")

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(1)
torch.set_default_device(args.device)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
torch.backends.cudnn.benchmark = True
on_cuda = args.device.startswith("cuda")
CELLS, CHANNELS, BATCH, CALLS = (1, 2, 2, 2) if args.small else (5, 16, 64, 10)
EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
SKIP, CONV1, CONV3, POOL = range(4)


def convolution(inputs, outputs, kernel, stride=1, affine=False, relu=True):
    """ReLU, convolution, batch norm; [batch, inputs, side, side] -> [batch, outputs, side / stride, side / stride]"""
    layers = [nn.ReLU()] if relu else []
    layers.append(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False))
    layers.append(nn.BatchNorm2d(outputs, affine=affine, track_running_stats=affine))
    return nn.Sequential(*layers)


class Cell(nn.Module):
    def __init__(self, channels):
        super().__init__()
        pair = lambda: nn.ModuleList([convolution(channels, channels, 1), convolution(channels, channels, 3)])
        self.edges = nn.ModuleList(pair() for _ in EDGES)

    def forward(self, x, cell, a):
        nodes = [x, None, None, None]
        for edge, ((source, target), operation) in enumerate(zip(EDGES, cell)):
            y = nodes[source]
            if operation == POOL:
                y = F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)
            elif operation != SKIP:
                y = self.edges[edge][operation - CONV1](y)
            y = a[edge] * y if a is not None else y
            nodes[target] = y if nodes[target] is None else nodes[target] + y
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.first = convolution(inputs, outputs, 3, 2, affine=True)
        self.second = convolution(outputs, outputs, 3, affine=True)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x):
        return self.second(self.first(x)) + self.shortcut(x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = convolution(3, CHANNELS, 3, affine=True, relu=False)
        self.stages = nn.ModuleList(nn.ModuleList(Cell(CHANNELS << stage) for _ in range(CELLS)) for stage in range(3))
        self.reductions = nn.ModuleList(Reduction(CHANNELS << stage, CHANNELS << stage + 1) for stage in range(2))
        self.norm = nn.BatchNorm2d(4 * CHANNELS)
        self.linear = nn.Linear(4 * CHANNELS, 10)

    def forward(self, x, cell, a):
        x = self.stem(x)
        for stage, cells in enumerate(self.stages):
            x = self.reductions[stage - 1](x) if stage else x
            for one in cells:
                x = one(x, cell, a)
        return self.linear(F.relu(self.norm(x)).mean((2, 3)))


network = Network().train()
updates = args.asked == "w"
for parameter in network.parameters():
    parameter.requires_grad_(updates)
    parameter.grad = torch.zeros_like(parameter) if updates else None
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=True)
if updates:
    optimizer.step()  # momentum buffers of all weights
edge_weights = None if updates else torch.ones(len(EDGES), requires_grad=True)
images = [torch.randn(BATCH, 3, 32, 32) for _ in range(8)]
labels = [torch.randint(10, (BATCH,)) for _ in range(8)]
drawn = random.Random(1)
loss_of = lambda x, y, cell, a: F.cross_entropy(network(x, cell, a), y)
if args.variant == "compile":
    loss_of = torch.compile(loss_of, dynamic=False)


def work(x, y, cell):
    """A step on the device; returns what the host may ask for."""
    optimizer.zero_grad(set_to_none=True)
    if edge_weights is not None:
        edge_weights.grad = None
    loss = loss_of(x, y, cell, edge_weights)
    loss.backward()
    if updates:
        nn.utils.clip_grad_norm_(network.parameters(), 1.0, foreach=True)
        optimizer.step()
    return loss


def answer(loss):
    if not updates:
        torch.cat([loss.detach().view(1), edge_weights.grad]).tolist()


def cell():
    return [drawn.randrange(4) for _ in EDGES] if args.cells == "uniform" else [CONV3] * 6


def step(number):
    answer(work(images[number % 8], labels[number % 8], cell()))


if args.variant == "graphs":
    x, y = images[0].clone(), labels[0].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work(x, y, [CONV3] * 6)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    if edge_weights is not None:
        edge_weights.grad = None
    with torch.cuda.graph(graph):
        captured = work(x, y, [CONV3] * 6)

    def step(number):
        x.copy_(images[number % 8])
        y.copy_(labels[number % 8])
        graph.replay()
        answer(captured)


def milliseconds(begin):
    """The time of a step."""
    if not updates:
        if on_cuda:
            torch.cuda.synchronize()
        clock = time.perf_counter()
        step(begin)
        return 1e3 * (time.perf_counter() - clock)
    if on_cuda:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for number in range(CALLS):
            step(begin + number)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / CALLS
    clock = time.perf_counter()
    for number in range(CALLS):
        step(begin + number)
    return 1e3 * (time.perf_counter() - clock) / CALLS


for number in range(2 if args.small else 20):
    step(number)
times = sorted(milliseconds(number * CALLS) for number in range(args.times))
what = f"{'w' if updates else 'theta'} step, {'uniform cells' if args.cells == 'uniform' else 'all 3x3'}"
print(json.dumps({
    "program": "cifar_torch", "variant": args.variant, "mode": "tf32" if args.tf32 else "fp32", "what": what,
    "device": torch.cuda.get_device_name() if on_cuda else "cpu", "torch": torch.__version__, "batch": BATCH,
    "median_ms": round(statistics.median(times), 4), "least_ms": round(times[0], 4), "times": len(times),
}))
