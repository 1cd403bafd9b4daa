"""Render the CT of a whole patient from a label map alone, slim or stout, with ascites or without.

Labels say where organs, bones and some muscles lie. Skin, fat, the muscles of the wall and what lies between the
organs are drawn round them, so that one map gives patients of any nutrition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.volume import Box, Triple, box_of
from train.synthetic.lumen import GAS_HU, GUTS, fill_gut
from train.synthetic.smooth_fields import depth_mm, hull_distance, near, smooth_noise

AIR_HU = -1000.0
_VISCERA = (
    "liver", "spleen", "pancreas", "kidney", "bile", "adrenal", "portal_vein", "urine", "heart_wall", "lung", *GUTS
)  # fmt: skip
_BEHIND = ("kidney", "adrenal", "aorta", "ivc", "heart_wall", "esophagus_wall", "spongy_bone", "muscle", "air")
"""What fat surrounds also in ascites: it lies behind the peritoneum, or above the diaphragm."""
_TEXTURE_HU = 4.0
_MUSCLE_REACH_MM = 16.0
"""Unlabelled muscle lies within 0.7 of this distance of bones and other labels."""
_ARM_MM, _ARM_REACH_MM = 24.0, 90.0
_JOINT_MM = 6.0


@dataclass(frozen=True)
class Body:
    """What a patient's tissues do not say of the patient.

    Attributes:
        fat_mm: thickness of the fat under the skin.
        wall_mm: thickness of the muscular wall.
        visceral: how much of the space between organs is fat, from 0 to 1; the rest is soft tissue.
        ascites: the share of the space between organs that is free fluid, from 0 to 1.
        effusion: the share of the right and of the left lung that is pleural effusion.
        oral_contrast: whether the patient drank contrast agent.
    """

    fat_mm: float
    wall_mm: float
    visceral: float
    ascites: float = 0.0
    effusion: tuple[float, float] = (0.0, 0.0)
    oral_contrast: bool = False

    @property
    def margin_mm(self) -> float:
        """How far the skin may lie from the outermost label."""
        return 1.35 * self.fat_mm + self.wall_mm + 12


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a patient: 40 % are slim, of whom organs touch; about 25 % have ascites, and 25 % a pleural effusion."""
    slim = rng.random() < 0.4
    fat = rng.uniform(2, 6) if slim else float(np.exp(rng.uniform(np.log(6), np.log(40))))
    wall = rng.uniform(6, 10) if slim else rng.uniform(8, 16)
    visceral = rng.uniform(0.05, 0.4) if slim else float(np.clip(rng.normal(0.8, 0.2), 0.3, 1))
    ascites = rng.uniform(0.15, 1) if rng.random() < 0.25 else 0.0
    effusion = (0.0, 0.0)
    if rng.random() < 0.25:
        sides = [(1, 0), (0, 1), (1, 1)][int(rng.integers(3))]
        effusion = (sides[0] * rng.uniform(0.04, 0.35), sides[1] * rng.uniform(0.04, 0.35))
    return Body(fat, wall, visceral, ascites, effusion, bool(rng.random() < 0.22))


def render_body(
    labels_zyx: NDArray[np.integer],
    tissues: Mapping[int, str],
    spacing_zyx_mm: Triple,
    hu: Mapping[str, float],
    body: Body,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Render a patient.

    Args:
        labels_zyx: any label set, canonical orientation; not modified. Leave `body.margin_mm` round it for the wall.
        tissues: tissue of each label value, see `tissues.py`; labels of others are treated as unlabelled. "body" is
            the inside of the skin, which the patient then does not exceed.
        spacing_zyx_mm: of the labels.
        hu: of each tissue in this patient.
        body: the rest of the patient.
        rng: source of randomness.

    Returns:
        HU, float32 (z, y, x), before the scanner's blur and noise.
    """
    names = ["", *sorted(set(tissues.values()))]
    table = np.zeros(max(int(labels_zyx.max(initial=0)), *tissues, 0) + 1, np.uint8)
    for value, name in tissues.items():
        table[value] = names.index(name)
    tissue = table[labels_zyx]
    inside_skin = None
    if "body" in names:
        inside_skin = tissue > 0
        tissue[tissue == names.index("body")] = 0
    picture = _Picture(tissue, names, spacing_zyx_mm, hu, body, rng)
    picture.scan = picture.surroundings(inside_skin)
    picture.paint_tissues()
    picture.paint_bones(labels_zyx)
    picture.paint_solid_organs()
    picture.paint_lungs()
    for name, gut in GUTS.items():
        fill_gut(picture.scan, picture.of(name), spacing_zyx_mm, gut, hu, rng, oral_contrast=body.oral_contrast)
    return ndimage.gaussian_filter(picture.scan, 0.45, truncate=2.5)


class _Picture:
    """The scan of one patient while it is painted."""

    def __init__(
        self, tissue: NDArray[np.uint8], names: list[str], spacing: Triple, hu: Mapping[str, float], body: Body,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.tissue, self.names, self.spacing = tissue, names, spacing
        self.hu, self.body, self.rng = hu, body, rng
        self.scan = np.zeros(0, np.float32)
        self.lumps, self.clouds = self.noise(9.0), self.noise(24.0)
        first, second = self.noise(16.0), self.noise(16.0)
        self.planes = np.abs(first)
        self.threads = np.hypot(first, second)
        """Small along thin curves, such as vessels."""

    def noise(self, length_mm: float) -> NDArray[np.float32]:
        return smooth_noise(self.tissue.shape, self.spacing, length_mm, self.rng)

    def of(self, *tissues: str) -> NDArray[np.bool_]:
        """Mask of some tissues."""
        return np.isin(self.tissue, [self.names.index(one) for one in tissues if one in self.names])

    def surroundings(self, inside_skin: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """Air, skin, fat, the muscular wall, and what lies between the organs, as if there were no label."""
        hu, body, rng = self.hu, self.body, self.rng
        cavity = hull_distance(self.of(*_VISCERA), self.spacing) + self.clouds
        trunk = (self.tissue > 0) & ~self.of("arm_bone")
        outside = hull_distance(trunk, self.spacing) - rng.uniform(2, 5)
        film = body.ascites * rng.uniform(4, 16) * np.clip(1 + 0.5 * self.clouds, 0, 2)
        wall = cavity - film - body.wall_mm
        round_labels = _MUSCLE_REACH_MM * (0.7 - near(trunk, self.spacing, _MUSCLE_REACH_MM))
        flesh = np.minimum(np.maximum(round_labels, outside), wall) + 0.8 * self.clouds
        outline = np.minimum(outside, wall)
        if (arm := self.of("arm_bone")).any():
            weight = near(arm, self.spacing, _ARM_REACH_MM)
            around = np.where(weight > 0, _ARM_REACH_MM * (1 - weight) - _ARM_MM, np.inf)
            flesh, outline = np.minimum(flesh, around), np.minimum(outline, around)
        skin = outline - body.fat_mm * np.clip(1 + 0.25 * self.noise(70.0), 0.5, 1.35) - 2
        if inside_skin is not None:
            skin = np.where(inside_skin, skin, np.maximum(skin, 1))
        scan = np.where(skin < 0, np.float32(hu["fat"]) + 6 * self.lumps, np.float32(AIR_HU))
        scan[(skin < 0) & (skin > -2.2)] = hu["skin"]
        marbled = np.clip(self.lumps - rng.uniform(0.7, 1.4) - 1.2 * (1 - body.visceral), 0, 1)
        marbled = np.maximum(marbled, np.clip(1 - self.planes / (0.02 + 0.16 * body.visceral), 0, 0.8))
        muscle = hu["muscle"] + 3 * self.lumps + marbled * (hu["fat"] - hu["muscle"])
        scan = np.where((flesh < 0) & (skin < 0), muscle, scan)
        peritoneal = 1 - near(self.of(*_BEHIND), self.spacing, 14.0)
        between = self._between(np.clip(peritoneal * 1.6, 0, 1), cavity)
        scan = np.where((cavity < film * (peritoneal > 0.3)) & (skin < 0), between, scan)
        return self._with_pleura(scan.astype(np.float32)) if inside_skin is None else scan.astype(np.float32)

    def _with_pleura(self, scan: NDArray[np.float32]) -> NDArray[np.float32]:
        """Soft tissue where a lung has a dent without a label: its hilum, or what compresses it; never fat."""
        lung = self.of("lung")
        box = box_of(lung)
        for side in _sides(box) if box else ():
            dent = (hull_distance(lung[side], self.spacing, 2.0) < -3) & (self.tissue[side] == 0)
            scan[side][dent] = (self.hu["muscle"] - 12 + 8 * self.lumps[side])[dent]
        return scan

    def _between(self, peritoneal: NDArray[np.float32], cavity: NDArray[np.float32]) -> NDArray[np.float32]:
        """What lies between the organs: fat with vessels, soft tissue where there is little fat, or ascites."""
        hu, body, rng = self.hu, self.body, self.rng
        soft = 0.5 * (hu["bowel_wall"] + hu["muscle"]) - 8 + 8 * self.lumps
        soft -= np.clip(1 - self.planes / 0.16, 0, 1) * rng.uniform(0, 90)  # fat planes between what touches
        fat = hu["visceral_fat"] + 6 * self.lumps + np.clip(self.lumps - 1.4, 0, 1) * rng.uniform(10, 60)
        vessels = np.clip((rng.uniform(0.16, 0.24) - self.threads) / 0.08, 0, 1)
        fat += vessels * (0.5 * (hu["portal_vein"] + hu["arteries"]) - fat)
        field = 0.8 * self.clouds + 0.6 * self.lumps
        field += rng.uniform(0, 2.5) * near(self.of("kidney"), self.spacing, 10.0)  # slim patients have a little there
        fatty = np.clip(0.5 + 2.5 * (field + 4.0 * (body.visceral - 0.5)), 0, 1)
        filled = soft + fatty * (fat - soft)
        if body.ascites == 0:
            return filled
        fluid = rng.uniform(0, 20) + 1.5 * self.lumps
        at_wall = np.clip(1 + cavity / 25, 0, 1)  # it spreads along the wall before it parts the loops
        wet = np.clip(0.5 + 2.5 * (field + 2.5 * at_wall + 4.5 * (body.ascites - 0.75)), 0, 1) * peritoneal
        return filled + wet * (fluid - filled)

    def paint_tissues(self) -> None:
        """Each tissue in its HU with a faint texture, varying from organ to organ."""
        values = np.array([0.0, *(self.hu.get(name, self.hu["muscle"]) for name in self.names[1:])], np.float32)
        texture = np.array([self.rng.uniform(0.3, 1.3) * _TEXTURE_HU for _ in self.names], np.float32)
        known = self.tissue > 0
        place = self.tissue[known]
        self.scan[known] = values[place] + texture[place] * self.lumps[known]

    def paint_bones(self, labels: NDArray[np.integer]) -> None:
        """Spongy bone within a cortical shell, and discs or joints between bones that nearly touch."""
        bone = self.of("spongy_bone", "arm_bone")
        box = box_of(bone)
        if box is None:
            return
        spongy, cortical = self.hu["spongy_bone"], self.hu["cortical_bone"]
        mask, own = bone[box], labels[box]
        gap = near(near(mask, self.spacing, 2 * _JOINT_MM) < 0.5, self.spacing, _JOINT_MM) == 0
        gap &= self.tissue[box] == 0
        self.scan[box][gap] = 0.5 * (self.hu["disc"] + self.hu["muscle"]) + 4 * self.lumps[box][gap]
        shell = np.zeros(mask.shape, bool)
        for axis in range(3):
            differs = np.diff(own, axis=axis) != 0
            low = tuple(slice(0, -1) if k == axis else slice(None) for k in range(3))
            high = tuple(slice(1, None) if k == axis else slice(None) for k in range(3))
            shell[low] |= differs
            shell[high] |= differs
        shell &= mask
        grain = 25 * self.rng.standard_normal(mask.shape, dtype=np.float32) + 15 * self.lumps[box]
        self.scan[box][mask] = (spongy + grain)[mask]
        share = self.rng.uniform(0.35, 0.7)  # a voxel of the shell is partly spongy bone
        self.scan[box][shell] = (spongy + share * (cortical - spongy) + grain)[shell]

    def paint_solid_organs(self) -> None:
        """Vessels of the liver, pyramids of the kidneys, blood in the heart, contrast in the bladder."""
        hu, rng = self.hu, self.rng
        for name in ("liver", "kidney", "heart_wall", "urine"):
            mask = self.of(name)
            box = box_of(mask)
            if box is None:
                continue
            inside, view = mask[box], self.scan[box]
            depth = depth_mm(inside, self.spacing)
            lumps, threads = self.lumps[box], self.threads[box]
            if name == "liver":
                share = np.clip((0.22 - threads) / 0.1, 0, 1) * np.clip((depth - 5) / 8, 0, 1)
                target: NDArray[np.float32] | float = hu["portal_vein"]
            elif name == "kidney":
                share = np.clip((depth - rng.uniform(4, 7)) / 3 + 0.7 * lumps, 0, 1)
                target = hu["kidney_medulla"]
                view[inside] += hu["kidney_cortex"] - hu["kidney"]
            elif name == "heart_wall":
                share = np.clip((depth - rng.uniform(6, 10)) / 3 + 0.6 * self.clouds[box], 0, 1)
                target = hu["heart_blood"]
            else:
                view[inside & (depth < rng.uniform(2, 4))] = hu["muscle"]
                # What is denser sinks to the back.
                back = np.linspace(-1, 1, inside.shape[1], dtype=np.float32)[:, None]
                target = 4 + np.clip(0.5 + 2 * back, 0, 1) * (hu["urine"] - 4)
                share = np.clip(depth - 2.5, 0, 1)
            view[inside] += (share * (target - view))[inside]

    def paint_lungs(self) -> None:
        """Lungs with vessels, denser at the back; effusion and collapsed lung behind."""
        mask = self.of("lung")
        self.scan[self.of("air")] = GAS_HU
        box = box_of(mask)
        if box is None:
            return
        vessels = np.clip((0.2 - self.threads) / 0.1, 0, 1)
        depth = np.linspace(0, 1, len(mask[0]), dtype=np.float32)[None, :, None]
        lung = self.hu["lung"] + 700 * vessels + 60 * depth**3 + 15 * self.clouds
        self.scan[mask] = lung[mask]
        z, y = (np.arange(n, dtype=np.float32) * mm for n, mm in zip(mask.shape[:2], self.spacing[:2], strict=True))
        behind = y[:, None] - 0.25 * z[:, None, None] + 2 * self.clouds
        for share, side in zip(self.body.effusion, _sides(box), strict=True):
            inside, view = mask[side], self.scan[side]
            if share == 0 or not inside.any():
                continue
            score = behind[side]
            level = np.quantile(score[inside], 1 - share)
            collapsed = level - self.rng.uniform(0, 22) * np.clip(1 + 0.5 * self.clouds[side], 0, 2)
            enhanced = self.rng.uniform(20, 60) + 0.4 * max(self.hu["spleen"] - 50, 0)
            view[inside & (score > collapsed)] = enhanced
            view[inside & (score > level)] = self.rng.uniform(-2, 22)


def _sides(box: Box) -> tuple[Box, Box]:
    """The right and the left half of a box."""
    z, y, x = box
    middle = (x.start + x.stop) // 2
    return (z, y, slice(x.start, middle)), (z, y, slice(middle, x.stop))
