"""A model as callers use it: loaded once, shared by threads, sent to other processes. What it does with a CT is in
`inference/one_model.py`, and in `inference/combined.py` for one that is put together of others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from flareseg.errors import UsageError
from flareseg.inference.combined import CombinedModel
from flareseg.inference.one_model import NOTHING_FOUND as NOTHING_FOUND
from flareseg.inference.one_model import OneModel, Request
from flareseg.inference.turns import Turns
from flareseg.labels import Structure
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import find_installed, find_model
from flareseg.model.combined import read_combined
from flareseg.model.members import Members
from flareseg.model.structures import choose
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.segmentation import Segmentation
from flareseg.system.user_folders import name_user
from flareseg.volume import Volume, WorldBox


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
    number, and a few voxels at borders get the other label. So do another device and another backend.

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
        self._model = _opened(find_model(model), options)
        self.model_name = self._model.name
        self.structures: tuple[Structure, ...] = self._model.structures
        self._turns.device = self._model.device
        self._loaded = True

    @property
    def device_description(self) -> str:
        """What the network runs on now, e.g. "CPU, 8 threads, OpenVINO bf16"."""
        return self._model.description

    def check(self, structures: Collection[Structure | str] | None = None) -> None:
        """See, before a CT is read, that `segment` can give these structures (all unless given).

        Raises:
            ModelError: when a model is missing or changed that it is put together of, and needed for them.
            UsageError: when they are none of this model's.
        """
        with self._turns.turn():
            wanted = self._wanted(structures)
            if isinstance(self._model, CombinedModel):
                self._model.check(wanted)

    def expects_dsc(self, structures: Collection[Structure | str] | None = None) -> bool:
        """Whether `Segmentation.expectations` will say which DSC to expect of each of these structures (all unless
        given) that is found; it tells more than `confidence`, which takes time and memory to make.

        Raises:
            UsageError: when they are none of this model's.
        """
        with self._turns.turn():
            wanted, model = self._wanted(structures), self._model
            # Of a model that is put together of others it depends on which of these had something to look at.
            if isinstance(model, CombinedModel) or model.strategy.new_evidence() is None:
                return False
            return {one.name for one in wanted} <= set(model.plan.calibration)

    def segment(
        self,
        volume: Volume,
        *,
        structures: Collection[Structure | str] | None = None,
        roi: WorldBox | None = None,
        progress: Progress | None = None,
        confidence: bool = False,
        preview: Callable[[Segmentation], None] | None = None,
    ) -> Segmentation:
        """Segment one CT.

        Args:
            volume: in any orientation.
            structures: keep only these, of `self.structures` or by name ("left_kidney", "Left kidney"); all unless
                given.
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
            ModelError: when a model is missing or changed that this one is put together of, and needed here.
            DeviceError: in a process that was forked off one in which a model was loaded.
        """
        progress = progress or Progress()
        with self._turns.turn(progress.cancelled):
            wanted = self._wanted(structures)
            return self._model.segment(volume, Request(wanted, progress, roi, confidence, preview))

    def _wanted(self, structures: Collection[Structure | str] | None) -> tuple[Structure, ...]:
        if structures is None:
            return self.structures
        if isinstance(structures, str):
            structures = [structures]
        if strange := [one for one in structures if not isinstance(one, Structure | str)]:
            raise UsageError(
                f"{strange[0]!r} is no structure; give names, such as 'liver', or structures of flareseg.labels."
            )
        named = choose((one for one in structures if isinstance(one, str)), self.structures)
        every = {*named, *(one for one in structures if isinstance(one, Structure))}
        if missing := sorted(one.name for one in every.difference(self.structures)):
            raise UsageError(f"The model '{self.model_name}' does not segment: {', '.join(missing)}.")
        return tuple(structure for structure in self.structures if structure in every)


def _to_be_loaded(kind: type[Segmenter], model: str | Path, options: Options) -> Segmenter:
    """A `Segmenter` that loads its model when it is first used.

    Only then, because a pool of processes waits for ever for a task that cannot be unpacked.
    """
    segmenter = kind.__new__(kind)
    segmenter._begin(model, options)
    return segmenter


def _opened(path: Path, options: Options) -> OneModel | CombinedModel:
    """The model in a folder or zip, ready to run; raises as `Segmenter`."""
    if combined := read_combined(path):
        return CombinedModel(Members(combined, find_installed), options)
    return OneModel(load_bundle(path), options)
