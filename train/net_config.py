"""The configuration of a network, and the plan that is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from flareseg.errors import UsageError
from flareseg.labels import BACKGROUND, by_names, structures
from flareseg.model.networks.dynunet import dynunet_spec, spec_as_in_nnunet
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.networks.unet import unet_spec
from flareseg.model.plan import ComponentRule, Intensity, LesionRule, Plan, ResamplingRule, WindowRule
from flareseg.volume import Index, Triple

AIR_HU = -1024.0
"""Padding value outside the image, in training patches and inference windows."""
ANY_RANGE = Intensity((-1000.0, 1000.0), 0.0, 1.0)
"""Placeholder to check a plan before intensities are measured."""


@dataclass(frozen=True)
class NetConfig:
    """Configuration of a network, from which its `Plan` is made. Missing intensities are measured by `prepare`.

    Attributes:
        filters, kernels, strides: per stage, full resolution first.
        decoder_kernels: kernels of the decoder, full resolution first, or "nnunet": those of the encoder at the same
            resolution. By default they are those of the stage below, as in MONAI, whose 3×3×3 at full resolution cost a
            fifth more where the encoder has 1×3×3 there.
        blocks: residual blocks per stage of the encoder, which makes it one of nnU-Net's ResEnc nets: [1, 3, 4, 6, 6,
            6] and one convolution at each step of the decoder. By default it is plain, with two convolutions a stage.
        mirror_axes, mirror_sides: how mirrored windows may be averaged (`--tta`, `pseudo.mirroring`,
            `export.mirroring`): along z and y, and left to right, where the structures of the two sides are swapped
            back. Its fits need `augment.flip` and `augment.mirror` for that.
        segments: structures, one output channel each after the background; by default all.
        deep_supervision: number of extra outputs at lower resolutions for deep supervision.
    """

    spacing_zyx_mm: Triple
    patch_zyx: Index
    filters: list[int]
    kernels: list[Any] | None = None
    strides: list[Any] | None = None
    decoder_kernels: Literal["nnunet"] | list[Any] | None = None
    blocks: list[int] | None = None
    segments: list[str] | None = None
    clip_hu: tuple[float, float] | None = None
    mean_hu: float | None = None
    std_hu: float | None = None
    padding_hu: float | None = AIR_HU
    step: float = 1.0
    mirror_axes: list[int] = field(default_factory=list)
    mirror_sides: bool = False
    windows: WindowRule = "fixed"
    resampling: ResamplingRule = "auto"
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    deep_supervision: int = 0

    @cached_property  # asked for with every patch
    def names(self) -> tuple[str, ...]:
        """Structure of every output channel, the background first."""
        wanted = structures() if self.segments is None else by_names(self.segments)
        return (BACKGROUND, *(structure.name for structure in wanted))

    @cached_property
    def values(self) -> tuple[int, ...]:
        """FLARE's label value of every output channel, 0 first."""
        return (0, *(structure.value for structure in by_names(self.names[1:])))

    def plan(
        self,
        measured: Intensity | None = None,
        coarse: Plan | None = None,
        tumour: Plan | None = None,
        lesions: LesionRule | None = None,
    ) -> Plan:
        """The plan for inference.

        Args:
            measured: intensities to use if the configuration gives none.
            coarse: plan of the coarse network.
            tumour: plan of the tumour network.
            lesions: thresholds for the output of the tumour network.

        Raises:
            ModelError: when the numbers contradict each other.
            UsageError: when intensities are neither given nor measured.
        """
        plan = Plan(
            spacing_zyx_mm=self.spacing_zyx_mm,
            patch_zyx=self.patch_zyx,
            intensity=self._intensity(measured),
            network=self.network(),
            labels=dict(enumerate(self.names)),
            step=self.step,
            mirror_axes=tuple(self.mirror_axes),
            mirror_sides=self.mirror_sides,
            padding_hu=self.padding_hu,
            windows=self.windows,
            resampling=self.resampling,
            components=component_rules(self.components),
            coarse=coarse,
            tumour=tumour,
            lesions=lesions or LesionRule(),
        )
        parameter_shapes(plan)
        return Plan.from_json(plan.to_json())  # with the same checks as when a model is loaded

    def network(self) -> NetworkSpec:
        """The specification of the network."""
        plain = dynunet_spec(self.filters, self.kernels, self.strides)
        kernels, strides = plain.kwargs["kernel_size"], plain.kwargs["strides"]
        if self.blocks is not None:
            if self.decoder_kernels not in (None, "nnunet"):
                raise UsageError("The decoder of a net of residual blocks has the kernels of its encoder.")
            one_each = [1] * (len(self.filters) - 1)
            return unet_spec(
                self.filters, kernels, strides, residual=True, blocks=self.blocks, decoder_convolutions=one_each
            )
        if self.decoder_kernels == "nnunet":
            return spec_as_in_nnunet(self.filters, kernels, strides)
        if self.decoder_kernels is not None:
            plain.kwargs["up_kernel_size"] = self.decoder_kernels[::-1]
        return plain

    def _intensity(self, measured: Intensity | None) -> Intensity:
        clip = self.clip_hu or (measured.clip_hu if measured else None)
        mean = self.mean_hu if self.mean_hu is not None else (measured.mean_hu if measured else None)
        std = self.std_hu if self.std_hu is not None else (measured.std_hu if measured else None)
        if clip is None or mean is None or std is None:
            raise UsageError("Intensities are neither in the configuration nor measured; run the stage 'prepare'.")
        return Intensity(clip, mean, std)


def component_rules(components: dict[str, dict[str, Any]]) -> dict[str, ComponentRule]:
    """Component rules from their tables by structure, as in the configuration."""
    return {name: ComponentRule(**rule) for name, rule in components.items()}
