"""One CT in, one segmentation out: the whole pipeline, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import UsageError
from flareseg.inference.body import body_box
from flareseg.inference.confidence import confidence_of
from flareseg.inference.engine import Engine
from flareseg.inference.fat import remove_fat
from flareseg.inference.parity import ParityEngine, nonzero_box, own_statistics
from flareseg.inference.postprocessing import remove_small_components
from flareseg.inference.region import can_be_abdomen, extension, region_of_labels
from flareseg.inference.tumour_net import lay_tumours
from flareseg.inference.turns import Turns
from flareseg.labels import TUMOUR, Structure
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import Intensity, Plan
from flareseg.model.structures import structures_of
from flareseg.options import Options
from flareseg.progress import Progress, part_of
from flareseg.segmentation import Segmentation
from flareseg.system.user_folders import name_user
from flareseg.volume import Box, Geometry, Orientation, Volume, WorldBox

NOTHING_FOUND = "No abdominal organ was found in this CT; the result is empty."


class Segmenter:
    """A model on a device, loaded once, for any number of CTs.

    Example:
        segmenter = Segmenter(options=Options(device="cpu", threads=4))
        for path in paths:
            write_segmentation(segmenter.segment(read_volume(path)), path.with_suffix(".seg.nrrd"))

    Threads may share one. They take turns, for one CT uses every thread that `options` allow already; reading and
    writing go on meanwhile. The results are those of one thread:

        def work(path):
            write_segmentation(segmenter.segment(read_volume(path)), path.with_suffix(".seg.nrrd"))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, paths))

    It can be sent to other processes. What is sent is the name (or the folder) and the options; each worker loads the
    model itself, when it first uses it. Give each its share of the cores:

        segmenter = Segmenter(options=Options(threads=2))
        with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(segmenter.segment, volumes))

    After a fork neither this nor a new one can be used, because the threads of torch and OpenVINO stay behind: there
    every use raises `DeviceError`. "spawn" and "forkserver" do not fork; with "fork" let only the workers load a model:

        def work(volume):
            return Segmenter().segment(volume)  # in the parent process there is none

        with multiprocessing.get_context("fork").Pool(4) as pool:
            results = pool.map(work, volumes)

    What the caller has set in torch (threads, default type and device, gradients, inference mode, autocast, precision
    of products) changes no result, and is as it was afterwards; so are environment variables.

    The same CT gives the same labels, byte for byte, on the same machine with the same versions, model and options.
    `threads` is one of them, and None means the number of cores: sums are added up in another order with another
    number, and a few voxels at borders get the other label. So do another device and the other backend.

    Args:
        model: name of an embedded or imported model, or a model folder.
        options: device, windows, memory.

    Raises:
        ModelError: when the model cannot be found or loaded.
        DeviceError: when the device is not there, or this process was forked off one in which a model was loaded.
    """

    def __init__(self, model: str | Path = "default", options: Options | None = None) -> None:
        self._begin(model, options or Options())
        with self._turns.turn():
            self._load()

    def __reduce__(self) -> tuple[Any, ...]:
        """To be loaded again elsewhere, by name; another process may have another current folder."""
        model, options = self._source
        path = find_model(model)
        return _to_be_loaded, (type(self), path.absolute() if path == Path(model) else model, options)

    def __getattr__(self, name: str) -> Any:
        """What there is only once the model has been loaded; one that came from another process does so now."""
        if name.startswith("__") or "_source" not in vars(self):
            raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")
        with self._turns.turn():
            if not self._loaded:
                self._load()
        return object.__getattribute__(self, name)

    def _begin(self, model: str | Path, options: Options) -> None:
        self._source, self._loaded = (model, options), False
        self._turns = Turns(options.threads, options.gpu_memory_gb)

    def _load(self) -> None:
        name_user()
        model, options = self._source
        bundle = load_bundle(find_model(model))
        self._plan = bundle.plan
        self._parity = bundle.plan.parity if options.parity is None else options.parity
        options = replace(options, parity=self._parity)
        self.model_name = f"{bundle.name} {bundle.version}"
        self.structures: tuple[Structure, ...] = structures_of(bundle.plan)
        # Label values of the output channels; None where they are the same numbers, as in a model of all structures.
        values = [0, *(structure.value for structure in self.structures)]
        self._values = None if values == list(range(len(values))) else np.array(values, np.uint8)
        self._cannot_mirror = options.mirroring and not bundle.plan.mirror_axes
        engine = ParityEngine if self._parity else Engine
        self._engine: Engine = engine(bundle.plan, bundle.weights, options, ensemble=bundle.ensemble)
        self._coarse: Engine | None = None
        if bundle.plan.coarse and bundle.coarse_weights and not self._parity:
            # Mirroring and small steps would cost time where only a box is looked for.
            plain = Options(options.device, options.backend, options.threads, options.gpu_memory_gb)
            self._coarse = Engine(bundle.plan.coarse, bundle.coarse_weights, plain)
        self._tumour: Engine | None = None
        if bundle.plan.tumour and bundle.tumour_weights and not self._parity:
            self._tumour = Engine(bundle.plan.tumour, bundle.tumour_weights, options)
        self._turns.device = self._engine.device
        self._loaded = True

    @property
    def device_description(self) -> str:
        """What the network runs on now, e.g. "CPU, 8 threads, OpenVINO bf16"."""
        return self._engine.description

    def segment(
        self,
        volume: Volume,
        *,
        structures: Collection[Structure] | None = None,
        roi: WorldBox | None = None,
        progress: Progress | None = None,
        confidence: bool = False,
        preview: Callable[[Segmentation], None] | None = None,
    ) -> Segmentation:
        """Segment one CT.

        Args:
            volume: in any orientation.
            structures: keep only these; all unless given.
            roi: look only inside this box; everywhere unless given.
            progress: hears every stage, and can cancel at each report.
            confidence: also give `Segmentation.confidence`.
            preview: is given what the coarse net found, on its own coarse grid, before the work goes on; not called
                for a model without one.

        Returns:
            labels on exactly the volume's grid.

        Raises:
            Cancelled: when `progress` was told to stop.
            UsageError: when `roi` lies outside the volume, or `structures` are none of this model's.
            DeviceError: in a process that was forked off one in which a model was loaded.
        """
        progress = progress or Progress()
        with self._turns.turn(progress.cancelled):
            return self._segment(volume, structures, roi, progress, confidence, preview)

    def _segment(
        self,
        volume: Volume,
        structures: Collection[Structure] | None,
        roi: WorldBox | None,
        progress: Progress,
        confidence: bool,
        preview: Callable[[Segmentation], None] | None,
    ) -> Segmentation:
        wanted = self._wanted(structures)
        if self._cannot_mirror:
            progress.message(f"The model '{self.model_name}' was not trained for mirroring; it runs without.")
        orientation = volume_orientation(self._plan, volume.geometry)
        ct = volume.oriented(orientation)
        within = _checked(roi, ct) if roi else None
        labels = np.zeros(ct.hu.shape, np.uint8)
        certainty = np.zeros(ct.hu.shape, np.uint8) if confidence else None
        with progress.stage("body"):
            as_nnunet = self._parity or self._plan.intensity.scheme != "ct"  # HU tell a body only in a CT
            box = nonzero_box(ct.hu) if as_nnunet else body_box(ct.hu, ct.geometry.spacing_zyx_mm)
        body = box
        if box and self._coarse:
            with progress.stage("region"):
                box = self._region(self._coarse, ct, box, wanted, progress, preview)
        if box and within:
            box = _overlap(box, within)
        if box:
            labels[box] = self._labels(ct, box, wanted, progress, certainty)
            if body and self._coarse and not roi:
                axis = volume_orientation(self._coarse.plan, ct.geometry).axes[0]
                self._follow(labels, ct, box, body, axis, wanted, progress, certainty)
            with progress.stage("components"):
                self._clean(labels, ct)
                if self._coarse and not roi and not self._plan.has_own_structures:
                    self._doubt(labels, ct, progress)
                _keep(labels, wanted, self.structures)
        else:
            progress.message(NOTHING_FOUND)
        return Segmentation(
            labels=np.ascontiguousarray(orientation.from_canonical(labels)),
            geometry=volume.geometry,
            structures=wanted,
            name=volume.name,
            model=self.model_name,
            notes=(*volume.notes, *(text for text in progress.messages if text not in volume.notes)),
            seconds=dict(progress.seconds),
            confidence=None if certainty is None else np.ascontiguousarray(orientation.from_canonical(certainty)),
        )

    def _region(
        self,
        engine: Engine,
        ct: Volume,
        box: Box,
        wanted: tuple[Structure, ...],
        progress: Progress,
        preview: Callable[[Segmentation], None] | None,
    ) -> Box | None:
        # The CT lies as the main net wants it, the coarse one may want it otherwise.
        way = volume_orientation(engine.plan, ct.geometry)
        spacing = way.geometry_to_canonical(ct.geometry).spacing_zyx_mm
        found = engine.coarse_labels(way.to_canonical(ct.hu[box]), spacing, progress)
        labels = np.ascontiguousarray(way.from_canonical(found))
        z, y, x = ((part.stop - part.start) / size for part, size in zip(box, labels.shape, strict=True))
        if preview:
            preview(_coarse_segmentation(labels, engine.plan, ct, box, wanted, self.model_name))
        along_z, along_y, along_x = ct.geometry.spacing_zyx_mm
        return region_of_labels(labels, (z * along_z, y * along_y, x * along_x), (z, y, x), box)

    def _labels(
        self,
        ct: Volume,
        box: Box,
        wanted: tuple[Structure, ...],
        progress: Progress,
        certainty: NDArray[np.uint8] | None,
    ) -> NDArray[np.uint8]:
        part, spacing = ct.hu[box], ct.geometry.spacing_zyx_mm
        # Tumours that nobody wants would only be holes in organs.
        tumour = self._tumour if any(structure.name == TUMOUR for structure in wanted) else None
        with progress.stage("resample"):
            image = self._engine.resampled(part, spacing, progress, self._intensity_of(ct))
        with progress.stage("network"):
            nets = 1 if tumour is None else 2
            logits = self._engine.logits(image, part_of(progress, 0, nets))
            if tumour:
                if not tumour.plan.same_preprocessing(self._plan):
                    image = tumour.resampled(part, spacing, intensity=self._intensity_of(ct))
                its = tumour.logits(image, part_of(progress, 1, nets))
                lay_tumours(logits, _channel(self._plan), its, _channel(tumour.plan), self._plan.lesions)
                del its
        del image  # on the way back every large array counts
        with progress.stage("labels"):
            if certainty is not None:
                certainty[box] = confidence_of(logits, part.shape)
            labels = self._engine.labels(logits, part.shape, spacing, progress)
            return labels if self._values is None else self._values[labels]

    def _follow(
        self,
        labels: NDArray[np.uint8],
        ct: Volume,
        box: Box,
        body: Box,
        axis: int,
        wanted: tuple[Structure, ...],
        progress: Progress,
        certainty: NDArray[np.uint8] | None,
    ) -> None:
        """Go on above and below the region as long as a structure leaves it there; `labels` grow in place."""
        found = None if certainty is None else np.zeros_like(certainty)
        spacing = ct.geometry.spacing_zyx_mm
        # The stages within are those of the region again; told twice, a bar would go back.
        quiet = Progress(cancelled=progress.cancelled)
        for upwards in (True, False):
            while grown := extension(labels, box, body, axis, spacing, upwards=upwards):
                with progress.stage("beyond"):
                    part = self._labels(ct, grown.seen, wanted, quiet, found)
                first = grown.new[axis].start - grown.seen[axis].start
                count = grown.new[axis].stop - grown.new[axis].start
                labels[grown.new] = part.take(range(first, first + count), axis)
                if certainty is not None and found is not None:
                    certainty[grown.new] = found[grown.new]
                box = grown.box
        for text in quiet.messages:
            progress.message(text)

    def _intensity_of(self, ct: Volume) -> Intensity | None:
        """Of a model that normalises each image by its own statistics, and takes them of the whole image."""
        if self._parity or self._plan.intensity.scheme == "ct":
            return None
        return own_statistics(ct.hu, self._plan.intensity)

    def _clean(self, labels: NDArray[np.uint8], ct: Volume) -> None:
        channels = {name: channel for channel, name in self._plan.labels.items()}
        rules = {self.structures[channels[name] - 1].value: rule for name, rule in self._plan.components.items()}
        without_fat = [value for value, rule in rules.items() if rule.without_fat]
        if without_fat:
            remove_fat(labels, ct.hu, ct.geometry.spacing_zyx_mm, without_fat)
        remove_small_components(labels, ct.geometry.voxel_ml, rules)

    def _doubt(self, labels: NDArray[np.uint8], ct: Volume, progress: Progress) -> None:
        """Draw nothing, and say so, where too little was drawn for an abdomen."""
        assert self._coarse
        axis = volume_orientation(self._coarse.plan, ct.geometry).axes[0]
        if not can_be_abdomen(labels, ct.hu, ct.geometry.spacing_zyx_mm, axis):
            labels[:] = 0
            progress.message(NOTHING_FOUND)

    def _wanted(self, structures: Collection[Structure] | None) -> tuple[Structure, ...]:
        if structures is None:
            return self.structures
        missing = [structure.name for structure in structures if structure not in self.structures]
        if missing:
            raise UsageError(f"The model '{self.model_name}' does not segment: {', '.join(missing)}.")
        return tuple(structure for structure in self.structures if structure in structures)


def _to_be_loaded(kind: type[Segmenter], model: str | Path, options: Options) -> Segmenter:
    """A `Segmenter` that loads its model when it is first used.

    Only then, because a pool of processes waits for ever for a task that cannot be unpacked.
    """
    segmenter = kind.__new__(kind)
    segmenter._begin(model, options)
    return segmenter


def _channel(plan: Plan) -> int:
    """Of the tumour."""
    return next(channel for channel, name in plan.labels.items() if name == TUMOUR)


def _keep(labels: NDArray[np.uint8], wanted: tuple[Structure, ...], every: tuple[Structure, ...]) -> None:
    """Make background of all structures but the wanted ones."""
    if len(wanted) < len(every):
        kept = np.zeros(256, np.uint8)
        values = [structure.value for structure in wanted]
        kept[values] = values
        np.take(kept, labels, out=labels)


def _coarse_segmentation(
    labels: NDArray[np.uint8], plan: Plan, ct: Volume, box: Box, wanted: tuple[Structure, ...], model: str
) -> Segmentation:
    """Labels of the coarse net on the coarse grid that fills `box` of the CT."""
    scale = [(part.stop - part.start) / size for part, size in zip(box, labels.shape, strict=True)]
    first = [part.start + (step - 1) / 2 for part, step in zip(box, scale, strict=True)]
    spacing = [mm * step for mm, step in zip(ct.geometry.spacing_zyx_mm, scale, strict=True)]
    geometry = replace(
        ct.geometry,
        shape_zyx=(labels.shape[0], labels.shape[1], labels.shape[2]),
        spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]),
        origin_xyz_mm=ct.geometry.world_of((first[0], first[1], first[2])),
    )
    kept = np.zeros(256, np.uint8)
    for channel, structure in enumerate(structures_of(plan), 1):
        if structure in wanted:
            kept[channel] = structure.value
    return Segmentation(kept[labels], geometry, wanted, ct.name, model)


def _checked(roi: WorldBox, ct: Volume) -> Box:
    box = roi.in_grid(ct.geometry)
    if any(part.start >= part.stop for part in box):
        raise UsageError(f"The region of interest lies outside the CT '{ct.name}'.")
    return box


def volume_orientation(plan: Plan, geometry: Geometry) -> Orientation:
    """How a CT's voxels are put in the order in which the plan's network sees them."""
    if plan.orientation == "canonical":
        order = Orientation.of(geometry)
    elif plan.orientation == "ras":
        lps = Orientation.of(geometry)
        flipped = lps.flipped
        order = Orientation(lps.axes, (flipped[0], not flipped[1], not flipped[2]))
    else:
        order = Orientation((0, 1, 2), (False, False, False))
    z, y, x = plan.axes
    return Orientation(
        (order.axes[z], order.axes[y], order.axes[x]), (order.flipped[z], order.flipped[y], order.flipped[x])
    )


def _overlap(a: Box, b: Box) -> Box | None:
    z, y, x = (slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return (z, y, x) if all(part.start < part.stop for part in (z, y, x)) else None
