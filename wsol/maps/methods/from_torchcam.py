"""Maps by the methods of the package torchcam, for comparison."""

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from wsol.maps.other_libraries import PeerMap
from wsol.networks.linear_head import linear_head
from wsol.networks.token_grid import to_grid


@dataclass(frozen=True)
class FromTorchCAM(PeerMap):
    """A method of torchcam by the name of its class, such as CAM, GradCAMpp, SmoothGradCAMpp, ISCAM.

    Maps are on the layer's grid and not normalized (`normalized=False`). The package fuses several layers by
    `fuse_cams`, which expects normalized maps; so fused maps, and RefineCAM's product, are made of normalized maps.
    `CAM` reads the linear layer that `linear_head` finds, unless the option `fc_layer` names another.

    Options are arguments of the class (`num_samples`, `std`, `batch_size`) or of its call (`comparison_idx` of
    FinerCAM); `base_method` is a name.
    """

    library: ClassVar[str] = "torchcam"

    method: str = "GradCAM"

    def of_one_class(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, h, w) maps of (N,) class ids, any range.

        Raises:
            ImportError: if the package is not installed.
            ValueError: for a method, an option or a layer that does not exist.
        """
        try:
            import torchcam.methods
        except ImportError as error:
            raise self.missing() from error
        methods = {
            name: kind
            for name, kind in vars(torchcam.methods).items()
            if inspect.isclass(kind) and kind.__module__.startswith("torchcam.")
        }
        method = self.named(self.method, methods)
        self.modules(network)  # checks the names, because the package does not
        names: Any = list(self.layer_names)
        options: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in dict(self.options).items()
        }
        if "base_method" in options:
            options["base_method"] = self.named(options["base_method"], methods)
        to_class, to_call = self.split_options(method.__init__, method.__call__, options)
        if self.layout != "channels_first":
            to_class["reshape_transform"] = partial(
                to_grid, layout=self.layout, layer=names[0], prefix_tokens=self.prefix_tokens
            )
        if self.method == "CAM" and getattr(network, "class_order", None) is not None:
            raise ValueError("torchcam's CAM reads class weights in the network's own order of classes; use maps=cam.")
        if self.method == "CAM" and "fc_layer" not in to_class:
            to_class["fc_layer"] = linear_head(network)

        with method(network, names if len(names) > 1 else names[0], **to_class) as extractor:
            scores = network(images)
            maps = extractor(class_idx=class_ids.tolist(), scores=scores, normalized=len(names) > 1, **to_call)
            fused_by = getattr(extractor, "base_cam", extractor)
            return maps[0] if len(maps) == 1 else fused_by.fuse_cams(maps)
