"""Draw a whole patient, organ by organ, into a `train.synthetic.body.scene.Scene`.

Every function of `train.synthetic.body` draws one organ at its position in a standard adult (mm; see `scene` for the
axes), with random variation of position, size and shape. Later organs overwrite earlier ones, labels included, so the
order below matters.
"""

from __future__ import annotations

from train.synthetic.body.bones import draw_bones
from train.synthetic.body.bowel import draw_colon, draw_mesentery, draw_pelvic_organs, draw_small_bowel
from train.synthetic.body.chest import draw_ascites, draw_diaphragm_and_chest
from train.synthetic.body.contrast import draw_hu
from train.synthetic.body.digestive import draw_duodenum, draw_esophagus, draw_stomach
from train.synthetic.body.elsewhere import draw_head, draw_thighs
from train.synthetic.body.glands import draw_adrenals, draw_pancreas, draw_spleen
from train.synthetic.body.kidneys import draw_kidneys
from train.synthetic.body.liver import draw_gallbladder, draw_liver
from train.synthetic.body.patient import Patient, Person
from train.synthetic.body.scene import Scene
from train.synthetic.body.trunk import TRUNK, draw_deep_muscles, draw_trunk
from train.synthetic.body.tumours import draw_tumours
from train.synthetic.body.vessels import draw_aorta, draw_ivc, draw_mesenteric_vessels, draw_portal_veins


def draw_patient(scene: Scene, person: Person, phase: str, *, tumours: bool | None = None) -> Patient:
    """Draw a whole patient into the scene; the caller simulates the acquisition.

    `tumours`: True for at least one, False for none; random by default.
    """
    patient = Patient(person, draw_hu(scene.rng, phase), phase)
    draw_trunk(scene, patient)
    draw_diaphragm_and_chest(scene, patient)
    draw_ascites(scene, patient)
    draw_deep_muscles(scene, patient)
    draw_bones(scene, patient, TRUNK)
    draw_mesentery(scene, patient)
    draw_small_bowel(scene, patient)
    draw_pelvic_organs(scene, patient)
    draw_colon(scene, patient)
    draw_spleen(scene, patient)
    draw_liver(scene, patient)
    draw_stomach(scene, patient)
    draw_gallbladder(scene, patient)
    draw_kidneys(scene, patient)
    draw_adrenals(scene, patient)
    draw_portal_veins(scene, patient)
    draw_duodenum(scene, patient)
    draw_pancreas(scene, patient)
    draw_mesenteric_vessels(scene, patient)
    draw_esophagus(scene, patient)
    draw_ivc(scene, patient)
    draw_aorta(scene, patient)
    draw_tumours(scene, patient, wanted=tumours)
    return patient


def draw_elsewhere(scene: Scene, person: Person, phase: str, view: str) -> Patient:
    """Draw a body region without labelled structures into the scene: "head" or "thighs"."""
    patient = Patient(person, draw_hu(scene.rng, phase), phase)
    {"head": draw_head, "thighs": draw_thighs}[view](scene, patient)
    return patient
