"""A panel as small as can be, and its parameters."""

import enum
from pathlib import Path
from typing import Annotated, Optional

import slicer
from standin.parameter_node import Choice, Default, WithinRange, parameterNodeWrapper

UI = """<ui version="4.0"><class>Tiny</class>
<widget class="qMRMLWidget" name="Tiny">
 <layout class="QVBoxLayout" name="column">
  <item><widget class="qMRMLNodeComboBox" name="ct">
   <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
   <property name="noneEnabled"><bool>true</bool></property>
   <property name="SlicerParameterName" stdset="0"><string>ct</string></property>
  </widget></item>
  <item><widget class="QCheckBox" name="fast"><property name="text"><string>Fast</string></property>
   <property name="SlicerParameterName" stdset="0"><string>fast</string></property></widget></item>
  <item><widget class="QComboBox" name="quality">
   <property name="SlicerParameterName" stdset="0"><string>quality</string></property></widget></item>
  <item><widget class="ctkCollapsibleButton" name="more"><property name="text"><string>More</string></property>
   <property name="collapsed"><bool>true</bool></property>
   <layout class="QVBoxLayout" name="inside"><item>
    <widget class="ctkPathLineEdit" name="folder"><property name="filters"><set>ctkPathLineEdit::Dirs</set></property>
    </widget></item></layout></widget></item>
  <item><widget class="QPushButton" name="apply"><property name="text"><string>Apply</string></property></widget></item>
 </layout></widget>
<connections><connection><sender>Tiny</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>ct</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""


class Quality(enum.Enum):
    FAST = "fast"
    ACCURATE = "accurate"

    def label(self):
        return self.value.capitalize()


@parameterNodeWrapper
class Parameters:
    ct: slicer.vtkMRMLScalarVolumeNode
    region: Optional[slicer.vtkMRMLMarkupsROINode]  # noqa: UP045 - the form that every Slicer connects
    fast: bool
    quality: Quality = Quality.ACCURATE
    threshold: Annotated[float, WithinRange(0, 1), Default(0.5)]
    count: int = 3
    name: str = "liver"
    device: Annotated[str, Choice(["auto", "cpu"]), Default("auto")]
    structures: list[str]
    folder: Path = Path("models")
