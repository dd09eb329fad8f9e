"""Maps by the methods of the package grad-cam, for comparison."""

import contextlib
import inspect
import io
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wsol.maps.other_libraries import PeerMap
from wsol.networks.token_grid import to_grid

# Methods that wrap others: they are no subclasses of the package's BaseCAM, but are called like them.
COMPOSED = ("FinerCAM", "RefineCAM", "SESS")


@dataclass(frozen=True)
class FromGradCAM(PeerMap):
    """A method of grad-cam (`pytorch_grad_cam`) by the name of its class, such as XGradCAM, ScoreCAM, KPCA_CAM.

    The package clips negative values, divides each map by its own range and upsamples it to the image. This class skips
    the upsampling: maps are in [0, 1], on the layer's grid, so that a protocol chooses the interpolation. The
    upsampling of several layers (the package's mean), FullGrad, RefineCAM and SESS cannot be skipped; their maps have
    the image's size. FullGrad reads all layers with a bias, whatever the target layer.

    Options are arguments of the class (`k` of FEM, `batch_size` of AblationCAM and ScoreCAM) or of its call
    (`eigen_smooth`, `aug_smooth`); `base_method` is a name. FinerCAM runs image by image, because its own targets have
    one class for the whole batch.
    """

    library: ClassVar[str] = "grad-cam"

    method: str = "GradCAM"

    def of_one_class(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, h, w) maps of (N,) class ids, in [0, 1].

        Raises:
            ImportError: if the package is not installed.
            ValueError: for a method, an option or a layer that does not exist.
        """
        try:
            import pytorch_grad_cam
            from pytorch_grad_cam.base_cam import BaseCAM
            from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
        except ImportError as error:
            raise self.missing() from error
        methods = {
            name: kind
            for name, kind in vars(pytorch_grad_cam).items()
            if inspect.isclass(kind) and (issubclass(kind, BaseCAM) or name in COMPOSED)
        }
        method = self.named(self.method, methods)
        layers = [] if self.method == "FullGrad" else self.modules(network)
        options = dict(self.options)
        if "base_method" in options:
            options["base_method"] = self.named(options["base_method"], methods)
        batch_size = options.pop("batch_size", None) if self.method == "ScoreCAM" else None
        call = method.forward if self.method in COMPOSED else method.__call__
        to_class, to_call = self.split_options(method.__init__, call, options)
        if self.layout != "channels_first":
            to_class |= self._for_layout(pytorch_grad_cam)

        with contextlib.redirect_stderr(io.StringIO()):  # ScoreCAM and AblationCAM draw a progress bar for each image
            cam = method(network, layers, **to_class)
            if batch_size is not None:
                cam.batch_size = batch_size  # ScoreCAM takes it from an attribute alone
            runner = cam.base_cam if self.method == "FinerCAM" else cam
            plain = getattr(type(runner), "compute_cam_per_layer", None) is BaseCAM.compute_cam_per_layer
            if plain and len(layers) == 1:
                runner.get_target_width_height = lambda images: None  # its `scale_cam_image` then resizes nothing
            if self.method == "FinerCAM":
                pairs = zip(images.split(1), class_ids.tolist(), strict=True)
                maps = [torch.from_numpy(cam(image, target_idx=class_id, **to_call)) for image, class_id in pairs]
                return torch.cat(maps)
            targets = [ClassifierOutputTarget(class_id) for class_id in class_ids.tolist()]
            return torch.from_numpy(cam(images, targets, **to_call))

    def _for_layout(self, package: Any) -> dict[str, Any]:
        transform = partial(to_grid, layout=self.layout, layer=self.layer_names[0], prefix_tokens=self.prefix_tokens)
        arguments: dict[str, Any] = {"reshape_transform": transform}
        if self.method == "AblationCAM":
            arguments["ablation_layer"] = package.AblationLayerVit()  # it ablates the last axis
        return arguments
