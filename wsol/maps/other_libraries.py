"""Run the map methods of other libraries on a copy of the network."""

import copy
import difflib
import inspect
import random
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from wsol.maps.base_map import MapsOfClasses, Needs
from wsol.maps.forward_pass import LAST, ForwardPass
from wsol.networks.token_grid import Layout


@dataclass(frozen=True)
class PeerMap(MapsOfClasses):
    """A method of another library, by its name there; it runs one class at a time.

    These libraries hook and run the network themselves. Some leave it in eval mode, fill `.grad`, or leave hooks or
    replaced layers behind after an error. Each call therefore gets a deep copy in eval mode, and the network itself
    never changes. In the copy, parameters require a gradient (some methods fail otherwise), and in-place activations
    run out of place (an in-place ReLU after the target layer would change the kept activation); the outputs are the
    same. Images are floats in [0, 1] that require a gradient, inside `enable_grad`. torch, numpy and `random` are
    seeded for each class and restored afterwards, so that random methods give the same maps in every run.

    Attributes:
        method: name of the class in the library.
        target_layer: dotted module name, or several for a method that takes several.
        options: further arguments of the class or of its call, by name, as plain data.
        layout: layout of the layer's output; see `to_grid`.
        prefix_tokens: number of tokens before the patches, for `layout="tokens"`.
        seed: seed of random methods.
    """

    needs: ClassVar[Needs] = "calls"
    library: ClassVar[str]

    method: str
    target_layer: str | Sequence[str] = LAST
    options: Mapping[str, Any] | Sequence[Any] = ()
    layout: Layout = "channels_first"
    prefix_tokens: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.target_layer, str):
            object.__setattr__(self, "target_layer", tuple(self.target_layer))
        pairs = sorted(dict(self.options).items())
        object.__setattr__(self, "options", tuple((name, _frozen(value)) for name, value in pairs))

    @property
    def target_layers(self) -> tuple[str, ...]:
        """Empty, because the library runs the network itself."""
        return ()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the target layers."""
        return (self.target_layer,) if isinstance(self.target_layer, str) else tuple(self.target_layer)

    def maps(self, forward: ForwardPass, class_ids: Tensor) -> Tensor:
        """Return the (N, K, h, w) maps of (N, K) class ids, in the library's own range."""
        maps = []
        for column in class_ids.unbind(dim=1):
            network = peer_copy(forward.network)
            images = _float_images(forward.images, network)
            with _seeded(self.seed, images.device), torch.enable_grad(), warnings.catch_warnings():
                try:
                    maps.append(self.of_one_class(network, images, column).detach().to(images.device))
                except Exception as error:
                    error.add_note(f"Raised in {self.method!r} of {self.library}, run with {self!r}.")
                    raise
        return torch.stack(maps, dim=1)

    @abstractmethod
    def of_one_class(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, h, w) maps of (N,) class ids.

        Args:
            network: a copy, which the method may change.
            images: (N, 3, H, W) float in [0, 1], requiring a gradient.
            class_ids: (N,).
        """

    def missing(self) -> ImportError:
        """Return the error to raise if the library is not installed."""
        return ImportError(
            f"{type(self).__name__} needs {self.library}, which is not installed: pip install 'wsol[peers]'"
        )

    def named(self, name: str, methods: Mapping[str, type]) -> Any:
        """Return the library's class of a name.

        Raises:
            ValueError: listing the names that exist.
        """
        if name not in methods:
            close = difflib.get_close_matches(name, list(methods), n=3)
            hint = f" (close: {', '.join(close)})" if close else ""
            raise ValueError(f"{self.library} has no map method {name!r}{hint}; it has {', '.join(sorted(methods))}.")
        return methods[name]

    def modules(self, network: nn.Module) -> list[nn.Module]:
        """Return the modules of the target layers.

        Raises:
            ValueError: for a layer that does not exist.
        """
        modules = dict(network.named_modules())
        for name in self.layer_names:
            if name not in modules or name == "":
                close = difflib.get_close_matches(name, list(modules), n=3) or list(modules)[1:2]
                raise ValueError(f"The classifier has no layer {name!r}; close names: {', '.join(close)}.")
        return [modules[name] for name in self.layer_names]

    def split_options(
        self, build: Callable[..., Any], call: Callable[..., Any], options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split options into (arguments of the class, arguments of its call), by their signatures.

        Raises:
            ValueError: for an option that neither signature has.
        """
        of_class, of_call = inspect.signature(build).parameters, inspect.signature(call).parameters
        takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in of_class.values())
        to_class, to_call = {}, {}
        for name, value in options.items():
            if name in of_call:
                to_call[name] = value
            elif name in of_class or takes_any:
                to_class[name] = value
            else:
                names = sorted({*of_class, *of_call} - {"self"})
                raise ValueError(f"{self.method!r} of {self.library} takes no option {name!r}, only {names}.")
        return to_class, to_call


def peer_copy(network: nn.Module) -> nn.Module:
    """Return a deep copy in eval mode, whose parameters require a gradient and whose activations run out of place."""
    copied = copy.deepcopy(network).eval().requires_grad_(True)
    for module in copied.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return copied


def _float_images(images: Tensor, network: nn.Module) -> Tensor:
    dtypes = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    dtype = next(dtypes, torch.float32)
    floats = images.to(dtype) / 255 if images.dtype == torch.uint8 else images.detach().clone()
    return floats.requires_grad_()


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - these libraries draw from it
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
