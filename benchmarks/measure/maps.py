"""Measure the time of activation maps beside a bare forward pass, wsol's and other libraries', in the same run.

python benchmarks/measure/maps.py [--networks resnet18 resnet50] [--batch 16] [--size 224] [--rounds 7] [--out FILE.md]

wsol and the libraries make the maps of the same images and classes, on the same network, at its last convolution, in
turn. A bare forward pass is timed before each of them, and the table reports the ratio to it. Libraries that are not
installed are left out: pip install grad-cam torchcam captum.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from tqdm import tqdm

from wsol.maps.base_map import MapsOfClasses
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.counterfactual import Counterfactual
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.methods.xgrad_cam import XGradCAM
from wsol.networks.backbones.resnet import resnet18, resnet50
from wsol.networks.classifier import Classifier
from wsol.networks.folding import optimize
from wsol.networks.pooling.gap import GAP

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure.harness import command_of, in_turn, make_parser, markdown, publish, seconds_of, version_of

NETWORKS = {"resnet18": resnet18, "resnet50": resnet50}
METHODS: dict[str, MapsOfClasses] = {
    "Grad-CAM": GradCAM(),
    "Grad-CAM++": GradCAMPlusPlus(),
    "XGrad-CAM": XGradCAM(),
    "HiResCAM": HiResCAM(),
    "LayerCAM": LayerCAM(),
    "Counterfactual": Counterfactual(),
}
CLASSES = 5
GOALS = {(1, 1): 1.05, (1, CLASSES): 1.1, (len(METHODS), CLASSES): 1.3}  # (methods, classes) -> times a forward pass

Maps = dict[str, Tensor]  # method -> (N, K, h, w), any range


@dataclass
class Tool:
    """A library, or a way of using it, that makes maps.

    Attributes:
        name: name in the table.
        network: the network that it runs.
        has: names of the methods, of METHODS, that it has.
        make: (method names, class ids (N, K), at_grid) -> maps. With `at_grid` the maps are on the network's grid, and
            the time does not count.
    """

    name: str
    network: nn.Module
    has: tuple[str, ...]
    make: Callable[[tuple[str, ...], Tensor, bool], Maps]


def ours(name: str, network: nn.Module, images: Tensor) -> Tool:
    """Make all maps from one forward pass of wsol."""

    def make(methods: tuple[str, ...], class_ids: Tensor, at_grid: bool) -> Maps:
        forward = forward_pass(network, images, [LAST])
        return {method: METHODS[method](forward, class_ids) for method in methods}

    return Tool(name, network, tuple(METHODS), make)


def grad_cam(network: nn.Module, images: Tensor) -> Tool:
    """Use grad-cam as in its README: one object for each method, called once for each class."""
    import pytorch_grad_cam as library  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from pytorch_grad_cam.utils.model_targets import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        ClassifierOutputTarget,
    )

    kinds = {
        "Grad-CAM": library.GradCAM,
        "Grad-CAM++": library.GradCAMPlusPlus,
        "XGrad-CAM": library.XGradCAM,
        "HiResCAM": library.HiResCAM,
        "LayerCAM": library.LayerCAM,
    }

    def make(methods: tuple[str, ...], class_ids: Tensor, at_grid: bool) -> Maps:
        maps = {}
        for method in methods:
            with kinds[method](model=network, target_layers=[network.get_submodule("backbone.layer4")]) as cam:
                if at_grid:  # otherwise it resizes its maps to the images
                    cam.get_target_width_height = functools.partial(_grid, cam)
                each = []
                for column in class_ids.unbind(dim=1):
                    targets = [ClassifierOutputTarget(class_id) for class_id in column.tolist()]
                    each.append(torch.from_numpy(cam(input_tensor=images, targets=targets)))
            maps[method] = torch.stack(each, dim=1)
        return maps

    return Tool("grad-cam", network, tuple(kinds), make)


def _grid(cam: Any, images: Tensor) -> tuple[int, int]:
    height, width = cam.activations_and_grads.activations[0].shape[2:]
    return width, height


def torchcam(network: nn.Module, images: Tensor) -> Tool:
    """Use torchcam as in its README: one extractor and one pass for each method, shared by the classes."""
    from torchcam import methods as library  # type: ignore[import-not-found, import-untyped, unused-ignore]

    kinds: dict[str, Any] = {
        "Grad-CAM": library.GradCAM,
        "Grad-CAM++": library.GradCAMpp,
        "XGrad-CAM": library.XGradCAM,
        "LayerCAM": library.LayerCAM,
    }

    def make(methods: tuple[str, ...], class_ids: Tensor, at_grid: bool) -> Maps:
        maps = {}
        for method in methods:
            with kinds[method](network, "backbone.layer4") as extractor:
                scores = network(images)
                columns = class_ids.unbind(dim=1)
                each = [
                    extractor(column.tolist(), scores, retain_graph=place < len(columns) - 1)[0]
                    for place, column in enumerate(columns)
                ]
            maps[method] = torch.stack(each, dim=1)
        return maps

    return Tool("torchcam", network, tuple(kinds), make)


def captum(network: nn.Module, images: Tensor) -> Tool:
    """Use captum as in its tutorials: one object for each method, called once for each class."""
    from captum import attr as library  # type: ignore[import-not-found, import-untyped, unused-ignore]

    kinds: dict[str, tuple[Any, dict[str, bool]]] = {
        "Grad-CAM": (library.LayerGradCam, {"relu_attributions": True}),
        "HiResCAM": (library.LayerGradientXActivation, {}),
    }

    def make(methods: tuple[str, ...], class_ids: Tensor, at_grid: bool) -> Maps:
        maps = {}
        for method in methods:
            kind, options = kinds[method]
            explainer = kind(network, network.get_submodule("backbone.layer4"))
            each = [
                explainer.attribute(images, target=column, **options).detach().sum(dim=1)
                for column in class_ids.unbind(dim=1)
            ]
            maps[method] = torch.stack(each, dim=1)
        return maps

    return Tool("captum", network, tuple(kinds), make)


PEERS = {"grad-cam": grad_cam, "torchcam": torchcam, "captum": captum}


class GraphMemory:
    """Bytes of the tensors that autograd saves for a backward pass, each storage once, without parameters and inputs.

    Every saved tensor is wrapped. The graph drops the wrapper with the tensor, so that only live tensors count.
    """

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        known = [*network.parameters(), *network.buffers(), images]
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.held: dict[int, int] = {}  # storage -> saved tensors in it
        self.now = self.peak = 0

    def of(self, make: Callable[[], Any]) -> int:
        """Return the largest number of bytes that were alive at one time during a call."""
        with saved_tensors_hooks(lambda tensor: _Saved(tensor, self), lambda saved: saved.tensor):
            make()
        return self.peak

    def change(self, tensor: Tensor, by: int) -> None:
        """Count a saved tensor in (1) or out (-1)."""
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address in self.known:
            return
        before = self.held.get(address, 0)
        self.held[address] = before + by
        if 0 in (before, before + by):
            self.now += by * storage.nbytes()
            self.peak = max(self.peak, self.now)


class _Saved:
    def __init__(self, tensor: Tensor, memory: GraphMemory) -> None:
        self.tensor, self.memory = tensor.detach(), memory
        memory.change(self.tensor, 1)

    def __del__(self) -> None:
        self.memory.change(self.tensor, -1)


@dataclass
class Task:
    """One tool with the methods and the number of classes that it is timed at."""

    tool: Tool
    methods: tuple[str, ...]
    classes: int
    bare: list[float] = field(default_factory=list)  # seconds of the bare forward pass before each run
    seconds: list[float] = field(default_factory=list)
    failure: str = ""


@dataclass
class Comparison:
    """Times, memory and differences of all tools on one network."""

    network: str
    tasks: list[Task]
    memory: dict[str, int]  # tool -> bytes
    differences: dict[str, dict[str, float]]  # tool -> method -> largest difference


def compare(name: str, arguments: argparse.Namespace, device: torch.device, bar: tqdm) -> Comparison:
    """Time every tool on one network."""
    torch.manual_seed(0)
    network = Classifier(NETWORKS[name](weights=None), GAP(), 1000).eval().to(device)
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size).to(device)

    def bare() -> Tensor:
        with torch.inference_mode():
            return network(images)

    # Each image's likeliest classes, as users explain them; the ReLU does not set all of their maps to zero.
    class_ids = bare().topk(CLASSES, dim=1).indices.clone()
    tools = [ours("ours", network, images), ours("ours, optimized", optimize(network, device), images)]
    for library, peer in PEERS.items():
        if version_of(library):
            tools.append(peer(network, images))
    tasks = [
        Task(tool, methods, classes)
        for methods in (("Grad-CAM",), tuple(METHODS))
        for classes in (1, CLASSES)
        for tool in tools
        if len(methods) == 1 or len(tool.has) > 1
    ]
    for task in tasks:
        task.methods = tuple(method for method in task.methods if method in task.tool.has)
    comparison = Comparison(name, tasks, {}, {})
    expected: Maps = {}
    for tool in tools:
        bar.set_postfix_str(f"{name}: warm-up of {tool.name}")
        try:
            grad_cam_of_one = functools.partial(tool.make, ("Grad-CAM",), class_ids[:, :1], False)
            comparison.memory[tool.name] = GraphMemory(tool.network, images).of(grad_cam_of_one)
            maps = tool.make(tool.has, class_ids, True)
            expected = expected or maps
            comparison.differences[tool.name] = {method: difference(maps[method], expected[method]) for method in maps}
        except Exception as error:  # another library may raise anything
            for task in tasks:
                if task.tool is tool:
                    task.failure = f"{type(error).__name__}: {error}"

    def timed(task: Task) -> tuple[float, float]:
        bar.set_postfix_str(f"{name}: {task.tool.name}, methods {len(task.methods)}, classes {task.classes}")
        before = seconds_of(bare, device)
        if not task.failure:
            try:
                make = functools.partial(task.tool.make, task.methods, class_ids[:, : task.classes], False)
                return before, seconds_of(make, device)
            except Exception as error:
                task.failure = f"{type(error).__name__}: {error}"
        return before, float("nan")

    runs = {str(index): functools.partial(timed, task) for index, task in enumerate(tasks)}
    for task, times in zip(tasks, in_turn(runs, arguments.rounds, bar.update).values(), strict=True):
        task.bare, task.seconds = [before for before, _ in times], [taken for _, taken in times]
    return comparison


def difference(maps: Tensor, expected: Tensor) -> float:
    """Return the largest difference between two sets of (N, K, h, w) maps, each map min-max normalized."""
    return float(np.abs(normalized(maps) - normalized(expected)).max())


def normalized(maps: Tensor) -> NDArray[np.float64]:
    """Normalize maps (N, K, h, w) to [0, 1]; a constant map becomes zeros."""
    values = maps.detach().cpu().double().numpy()
    lowest = values.min(axis=(2, 3), keepdims=True)
    span = values.max(axis=(2, 3), keepdims=True) - lowest
    return (values - lowest) / np.where(span > 0, span, 1)


def times_table(comparisons: list[Comparison], batch: int) -> str:
    """Return a table with a row for each tool and task."""
    rows = []
    for comparison in comparisons:
        network = comparison.network
        bare = float(np.median([before for task in comparison.tasks if not task.failure for before in task.bare]))
        rows.append([network, "bare forward pass", "", "", "1.000", f"{1000 * bare / batch:.2f}", "", ""])
        for task in comparison.tasks:
            methods = f"{len(task.methods)} of {len(METHODS)}" if len(task.methods) > 1 else task.methods[0]
            row = [network, task.tool.name, methods, str(task.classes)]
            if task.failure:
                rows.append([*row, f"failed: {one_line(task.failure)}", "", "", ""])
                continue
            goal = GOALS.get((len(task.methods), task.classes)) if task.tool.name == "ours" else None
            alone = len(task.methods) == task.classes == 1
            rows.append(
                [
                    *row,
                    f"{np.median(np.divide(task.seconds, task.bare)):.3f}",
                    f"{1000 * np.median(task.seconds) / batch:.2f}",
                    f"{comparison.memory[task.tool.name] / 2**20:.3g}" if alone else "",
                    "" if goal is None else f"<= {goal}",
                ]
            )
    head = ["network", "tool", "methods", "classes", "times a forward pass", "ms an image", "graph, MiB", "goal"]
    return markdown(rows, head)


def differences_table(comparisons: list[Comparison]) -> str:
    """Return a table with a row for each network and tool, and a column for each method."""
    rows = []
    for comparison in comparisons:
        for tool, of_method in comparison.differences.items():
            if tool != "ours":
                cells = [f"{of_method[method]:.1e}" if method in of_method else "-" for method in METHODS]
                rows.append([comparison.network, tool, *cells])
    return markdown(rows, ["network", "tool", *METHODS])


def one_line(text: str) -> str:
    """Shorten an error message to fit a cell."""
    return " ".join(text.replace("|", "/").split())[:120]


def notes(arguments: argparse.Namespace, device: torch.device) -> list[str]:
    """Return the notes below the tables."""
    missing = [library for library in PEERS if not version_of(library)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    half = ", bfloat16" if device.type == "cuda" else ""
    lines = [
        f"{arguments.batch} images of {arguments.size} x {arguments.size} px, random weights, GAP, 1,000 classes; maps "
        f"at the last convolution, for each image's likeliest 1 or {CLASSES} classes. On {device.type}, {name}.",
        "Times a forward pass: each run is timed right after a bare forward pass of the network under inference_mode; "
        f"the median over {arguments.rounds} rounds of the ratio of the two, all tools in turn in each round, after a "
        "round that warms up. The images are prepared, and ours resizes no map.",
        "Graph: the most that autograd saved at one time for Grad-CAM of one class, without parameters.",
        f"Ours, optimized: batch norms folded, channels last{half}; its ratio is to the forward pass of the unchanged "
        "network.",
        "grad-cam is called once for each method and class, as in its README; it takes a forward and a backward pass "
        "each time, and resizes its maps to the images. captum likewise, without resizing. torchcam takes one forward "
        "pass for each method; its classes share it.",
        "Differences: the largest between ours and a tool's maps, each min-max normalized on the network's grid; for "
        f"{CLASSES} classes. In Grad-CAM++, grad-cam adds 1e-6 to denominators of about that size, and torchcam "
        "0.5.0 divides a copy of its numerators, so that the division is lost.",
    ]
    if missing:
        lines.append(f"Left out because not installed: {', '.join(missing)}.")
    return lines


def main() -> None:
    """Measure, print and write the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=16, help="images in a batch")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    with tqdm(total=len(arguments.networks) * (arguments.rounds + 1), unit="round", leave=False) as bar:
        comparisons = [compare(name, arguments, device, bar) for name in arguments.networks]
    tables = [times_table(comparisons, arguments.batch), differences_table(comparisons)]
    packages = {library: version_of(library) or "not installed" for library in PEERS}
    publish(tables, notes(arguments, device), arguments.out, command_of(__file__, sys.argv[1:]), packages)


if __name__ == "__main__":
    main()
