"""One CT in, one segmentation out: the whole pipeline, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flareseg.errors import UsageError
from flareseg.inference.case import Case, roi_in
from flareseg.inference.fast import FastStrategy
from flareseg.inference.orientation import network_orientation
from flareseg.inference.parity import ParityEngine, ParityStrategy
from flareseg.inference.parity_v1 import V1Engine
from flareseg.inference.postprocessing import clean_labels, keep_largest
from flareseg.inference.strategy import Strategy
from flareseg.inference.turns import Turns
from flareseg.labels import Structure
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import ComponentRule
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.segmentation import Segmentation
from flareseg.system.user_folders import name_user
from flareseg.volume import Orientation, Volume, WorldBox

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
        parity = bundle.plan.parity if options.parity is None else options.parity
        options = replace(options, parity=parity)
        self.model_name = f"{bundle.name} {bundle.version}"
        self._plan = bundle.plan
        self._cannot_mirror = options.mirroring and not bundle.plan.mirror_axes
        engine = ParityEngine if bundle.plan.nnunet == 2 else V1Engine
        self._strategy: Strategy = ParityStrategy(bundle, options, engine) if parity else FastStrategy(bundle, options)
        self._engine = self._strategy.engine
        self.structures: tuple[Structure, ...] = self._strategy.structures
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
            progress: receives every stage, and can cancel at each report.
            confidence: also give `Segmentation.confidence`.
            preview: is given what the coarse net found, on its own coarse grid, before the work goes on; not called
                for a model without one.

        Returns:
            labels on exactly the volume's grid.

        Raises:
            Cancelled: when `progress` says so.
            UsageError: when `roi` lies outside the volume, or `structures` are none of this model's.
            DeviceError: in a process that was forked off one in which a model was loaded.
        """
        progress = progress or Progress()
        with self._turns.turn(progress.cancelled):
            wanted = self._wanted(structures)
            if self._cannot_mirror:
                progress.message(f"The model '{self.model_name}' was not trained for mirroring; it runs without.")
            orientation = network_orientation(self._plan, volume.geometry)
            ct = volume.oriented(orientation)
            case = Case(
                ct=ct,
                wanted=wanted,
                progress=progress,
                labels=np.zeros(ct.hu.shape, np.uint8),
                certainty=np.zeros(ct.hu.shape, np.uint8) if confidence else None,
                roi=roi_in(ct, roi) if roi else None,
                preview=preview,
                model=self.model_name,
            )
            self._fill(case)
            return _segmentation(case, volume, orientation)

    def _wanted(self, structures: Collection[Structure] | None) -> tuple[Structure, ...]:
        if structures is None:
            return self.structures
        missing = [structure.name for structure in structures if structure not in self.structures]
        if missing:
            raise UsageError(f"The model '{self.model_name}' does not segment: {', '.join(missing)}.")
        return tuple(structure for structure in self.structures if structure in structures)

    def _fill(self, case: Case) -> None:
        """Fill `case.labels`, and `case.certainty` where that is wanted."""
        strategy = self._strategy
        body = strategy.find_body(case)
        region = strategy.find_region(case, body) if body else None
        box = case.within_roi(region) if region else None
        if not body or not box:
            case.progress.message(NOTHING_FOUND)
            return
        case.labels[box] = strategy.label(case, box)
        strategy.extend_region(case, box, body)
        with case.progress.stage("components"):
            clean_labels(case.labels, case.ct, self._component_rules())
            for rule in self._plan.largest:
                values = [self._value_of(name) for name in rule.structures]
                keep_largest(case.labels, case.ct.geometry.voxel_ml, values, rule.below_ml)
            self._reject_non_abdomen(case)
            if len(case.wanted) < len(self.structures):
                case.keep_wanted()

    def _component_rules(self) -> dict[int, ComponentRule]:
        """By label value."""
        return {self._value_of(name): rule for name, rule in self._plan.components.items()}

    def _value_of(self, name: str) -> int:
        """The label value of the structure that the plan calls so."""
        channels = {name: channel for channel, name in self._plan.labels.items()}
        return self.structures[channels[name] - 1].value

    def _reject_non_abdomen(self, case: Case) -> None:
        """An empty result, with a note, where too little was found for an abdomen."""
        if not self._strategy.finds_abdomen(case):
            case.labels[:] = 0
            case.progress.message(NOTHING_FOUND)


def _to_be_loaded(kind: type[Segmenter], model: str | Path, options: Options) -> Segmenter:
    """A `Segmenter` that loads its model when it is first used.

    Only then, because a pool of processes waits for ever for a task that cannot be unpacked.
    """
    segmenter = kind.__new__(kind)
    segmenter._begin(model, options)
    return segmenter


def _segmentation(case: Case, volume: Volume, orientation: Orientation) -> Segmentation:
    """What was found, on the grid of the volume as it was given."""
    certainty, messages = case.certainty, case.progress.messages
    return Segmentation(
        labels=np.ascontiguousarray(orientation.from_canonical(case.labels)),
        geometry=volume.geometry,
        structures=case.wanted,
        name=volume.name,
        model=case.model,
        notes=(*volume.notes, *(text for text in messages if text not in volume.notes)),
        seconds=dict(case.progress.seconds),
        confidence=None if certainty is None else np.ascontiguousarray(orientation.from_canonical(certainty)),
        source=volume.source,
    )
