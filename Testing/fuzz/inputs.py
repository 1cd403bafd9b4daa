"""Input number N of a kind: a seed, changed by chance that hangs on kind and number alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random

from mutate import Change, change_bytes, change_tree, splice
from mutate_dicom import change_elements
from mutate_json import change_json, change_safetensors, change_zip
from mutate_text import change_lines
from odd_trees import odd_tree
from seeds_dicom import dicom_seeds
from seeds_images import label_seeds, meta_seeds, nifti_seeds, nrrd_seeds
from seeds_models import model_seeds, nnunet_seeds, sign
from tree import Tree, zipped

Seeds = Callable[[], dict[str, Tree]]


def _by_ending(rng: Random, tree: Tree, endings: tuple[str, ...], change: Callable[[Random, bytes], bytes]) -> str:
    paths = [path for path in tree.plain() if path.endswith(endings)]
    if not paths:
        return change_bytes(rng, tree)
    path = rng.choice(paths)
    tree.files[path] = change(rng, tree.bytes_of(path))
    return f"{change.__name__} {path}"


def json_of(rng: Random, tree: Tree) -> str:
    return _by_ending(rng, tree, (".json",), change_json)


def weights_of(rng: Random, tree: Tree) -> str:
    return _by_ending(rng, tree, (".safetensors",), change_safetensors)


def zip_of(rng: Random, tree: Tree) -> str:
    """The zip is changed; a folder is zipped first."""
    if not any(path.endswith(".zip") for path in tree.plain()):
        tree.files, tree.main = {"m.zip": zipped(tree.files, rng.choice((0, 8)))}, "m.zip"
    return _by_ending(rng, tree, (".zip", ".pth"), change_zip)


KINDS: dict[str, tuple[Seeds, list[Change]]] = {
    "nifti": (nifti_seeds, [change_bytes, change_bytes, change_bytes, change_tree]),
    "nrrd": (nrrd_seeds, [change_lines, change_lines, change_lines, change_bytes, change_tree]),
    "meta": (meta_seeds, [change_lines, change_lines, change_lines, change_bytes, change_tree]),
    "labels": (label_seeds, [change_lines, change_bytes, change_tree]),
    "dicom": (dicom_seeds, [change_elements, change_elements, change_elements, change_bytes, change_tree]),
    "model": (model_seeds, [json_of, json_of, weights_of, zip_of, change_bytes, change_tree]),
    "nnunet": (nnunet_seeds, [json_of, json_of, json_of, zip_of, change_bytes, change_tree]),
    "cases": (lambda: {"odd": Tree({})}, []),
}
"""Of each kind of input, its seeds and what is done to them."""


@functools.cache
def seeds_of(kind: str) -> dict[str, Tree]:
    return KINDS[kind][0]()


def make_input(kind: str, number: int) -> Tree:
    """The first numbers are the seeds themselves; `Tree.changes` says what was done."""
    rng = Random(f"{kind} {number}")
    if kind == "cases":
        return odd_tree(rng)
    seeds, changes = list(seeds_of(kind).items()), KINDS[kind][1]
    name, seed = seeds[number % len(seeds)]
    tree = seed.copy()
    tree.changes = [name]
    if number < len(seeds):
        return tree
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.05:
            tree.changes.append(splice(rng, tree, rng.choice(seeds)[1]))
        else:
            tree.changes.append(rng.choice(changes)(rng, tree))
    if kind == "model" and rng.random() < 0.8:
        sign(tree)
    return tree
