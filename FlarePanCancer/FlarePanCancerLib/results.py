"""Measurements as nodes: a table of everything, and a line for the diameter of each lesion.

Nothing is measured here: the rows are those of the engine's results/measure.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from FlarePanCancerLib.mrml_conversion import to_ras
from FlarePanCancerLib.scene import ct_of, put_beside
from FlarePanCancerLib.translation import tr as _
from flareseg.labels import Structure
from flareseg.model.structures import structure_called
from flareseg.results import columns
from flareseg.results.measure import cell

Row = Mapping[str, Any]
ROLE = "FlarePanCancer.Of"
"""Node reference from a table or a line to the segmentation that it belongs to."""
LINE_COLOUR = (1.0, 0.85, 0.1)
TEXTS = ("case", "model", "structure")
"""They are texts even where they are empty."""


def lesions(rows: Sequence[Row]) -> list[Row]:
    """The rows that are about single lesions, the largest first."""
    return [row for row in rows if row["lesion"] is not None]


def whole_structures(rows: Sequence[Row]) -> list[Row]:
    """The rows that are about structures as a whole."""
    return [row for row in rows if row["lesion"] is None]


def structure_of(row: Row) -> Structure:
    """The structure that a row is about."""
    return structure_called(row["structure"], row["value"])


def newest_result(ct: Any) -> Any:
    """The segmentation with measurements that was made last of a CT; None where there is none."""
    import slicer

    made = [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if _is_of(node, ct)]
    return next((node for node in reversed(made) if table_of(node) is not None), None)


def _is_of(segmentation: Any, ct: Any) -> bool:
    owner = ct_of(segmentation)
    return owner is not None and owner.GetID() == ct.GetID()


def table_of(segmentation: Any) -> Any:
    """The table node with the measurements of a segmentation; None where there is none."""
    return next(iter(_own_nodes("vtkMRMLTableNode", segmentation)), None)


def rows_of(table: Any) -> list[Row]:
    """The measurements that `write_table` wrote, also of a scene that was saved and loaded; none of a foreign table."""
    columns = [table.GetTable().GetColumn(n) for n in range(table.GetTable().GetNumberOfColumns())]
    if not {"structure", "value", "lesion", "voxels"} <= {column.GetName() for column in columns}:
        return []
    count = table.GetTable().GetNumberOfRows()
    try:
        return [{one.GetName(): _read(one.GetName(), one.GetValue(n)) for one in columns} for n in range(count)]
    except ValueError:
        return []


def _read(name: str, value: Any) -> Any:
    """A cell as the engine gave it."""
    text, column = str(value), columns.column_of(name)
    kind = column.kind if column else columns.TEXT
    if name in TEXTS:
        return text
    if text in ("", "nan"):
        return None
    if kind == columns.WHOLE:
        return int(float(text))
    if kind == columns.NUMBER:
        return float(text)
    if kind == columns.FLAG:
        return text == "yes"
    return tuple(map(float, text.split())) if kind == columns.POINT else text


def write_table(rows: Sequence[Row], segmentation: Any) -> Any:
    """The table node of a segmentation with one row a measurement; made new, or filled anew where there is one.

    Columns are those of the engine's CSV and JSON; what a row does not have is empty.
    """
    import vtk

    table = _own_node("vtkMRMLTableNode", segmentation, _("{name} measurements").format(name=segmentation.GetName()))
    was = table.StartModify()
    table.RemoveAllColumns()
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        column = vtk.vtkDoubleArray() if _is_number(values) else vtk.vtkStringArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(cell(name, value) if column.IsA("vtkStringArray") else _number(value))
        table.AddColumn(column)
        about = columns.column_of(name)
        if about and about.unit:
            table.SetColumnProperty(name, "unit", about.unit)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.EndModify(was)
    return table


def draw_diameters(rows: Sequence[Row], segmentation: Any) -> list[Any]:
    """A markups line along the longest diameter of every lesion, in place of those drawn before."""
    import slicer

    for node in _own_nodes("vtkMRMLMarkupsLineNode", segmentation):
        slicer.mrmlScene.RemoveNode(node)
    result = []
    for row in lesions(rows):
        line = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLMarkupsLineNode", _("Lesion {number}").format(number=row["lesion"])
        )
        line.SetNodeReferenceID(ROLE, segmentation.GetID())
        line.CreateDefaultDisplayNodes()
        for end in ("longest_start_xyz_mm", "longest_end_xyz_mm"):
            line.AddControlPoint(*to_ras(row[end]))
        line.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
        line.SetLocked(True)
        display = line.GetDisplayNode()
        if display:
            display.SetSelectedColor(*LINE_COLOUR)
            display.SetColor(*LINE_COLOUR)
            display.SetPropertiesLabelVisibility(True)
            display.SetPointLabelsVisibility(False)
        result.append(line)
    return result


def centre_of(row: Row, segmentation: Any) -> tuple[float, float, float]:
    """The middle of a lesion's longest diameter in the world (RAS), its segmentation's transforms applied."""
    start, end = row["longest_start_xyz_mm"], row["longest_end_xyz_mm"]
    return world_of([(a + b) / 2 for a, b in zip(start, end, strict=True)], segmentation)


def world_of(place_lps: Sequence[float], segmentation: Any) -> tuple[float, float, float]:
    """A place of a segmentation, LPS as the engine has it, in the world (RAS), its transforms applied."""
    import vtk

    local = to_ras(list(place_lps))
    transform = segmentation.GetParentTransformNode()
    if transform is None:
        return local
    to_world = vtk.vtkGeneralTransform()
    transform.GetTransformToWorld(to_world)
    x, y, z = to_world.TransformPoint(local)
    return x, y, z


def show_lesion(row: Row, segmentation: Any) -> None:
    """Centre all slice views on a lesion."""
    import slicer

    x, y, z = centre_of(row, segmentation)
    slicer.modules.markups.logic().JumpSlicesToLocation(x, y, z, True)


def remove(segmentation: Any) -> None:
    """Take away the table and the lines of a segmentation."""
    import slicer

    for kind in ("vtkMRMLTableNode", "vtkMRMLMarkupsLineNode"):
        for node in _own_nodes(kind, segmentation):
            slicer.mrmlScene.RemoveNode(node)


def _own_nodes(kind: str, segmentation: Any) -> list[Any]:
    import slicer

    nodes = slicer.util.getNodesByClass(kind)
    return [node for node in nodes if node.GetNodeReferenceID(ROLE) == segmentation.GetID()]


def _own_node(kind: str, segmentation: Any, name: str) -> Any:
    import slicer

    found = _own_nodes(kind, segmentation)
    if found:
        return found[0]
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    node.SetNodeReferenceID(ROLE, segmentation.GetID())
    put_beside(node, segmentation)
    return node


def _is_number(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
