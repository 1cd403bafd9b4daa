"""Slice and 3D views as Slicer draws them, off screen: its own displayable managers in a plain VTK window."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from boot import application_logic
from vtk.util.numpy_support import vtk_to_numpy

SEGMENTS_2D, SEGMENTS_3D = "vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLSegmentationsDisplayableManager3D"
MARKUPS = "vtkMRMLMarkupsDisplayableManager"


def slice_picture(scene, ct, orientation="Axial", size=(400, 400), at_ras=None, lines=False, window=None):
    """A slice view through `at_ras` as an array (rows from the top, columns, RGB), and how to find a place in it.

    Returns:
        the picture, and a function from RAS to (row, column).
    """
    view = _named(scene, "vtkMRMLSliceNode", f"Test {orientation}")
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(scene)
    logic.SetSliceNode(view)
    composite = _composite(logic)
    if ct.GetDisplayNode() is None:
        ct.CreateDefaultDisplayNodes()
    if window:
        display = ct.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(*window)
    composite.SetBackgroundVolumeID(ct.GetID())
    view.SetOrientation(orientation)
    view.SetDimensions(*size, 1)
    logic.FitSliceToVolume(ct, *size)
    if at_ras is not None:
        view.JumpSliceByOffsetting(*at_ras)
    view.UpdateMatrices()
    canvas, renderer = _window(size)
    image = vtk.vtkImageMapper()
    image.SetColorWindow(255)
    image.SetColorLevel(127.5)
    image.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(image)
    actor.GetProperty().SetDisplayLocationToBackground()
    renderer.AddViewProp(actor)  # before the segments, or these are blended over black
    managers = [SEGMENTS_2D, *([MARKUPS] if lines else [])]
    group = _group(renderer, view, managers, slicer.vtkMRMLSliceViewDisplayableManagerFactory)
    picture = _drawn(canvas)
    xy_to_ras = slicer.util.arrayFromVTKMatrix(view.GetXYToRAS())
    ras_to_xy = np.linalg.inv(xy_to_ras)

    def place(ras):
        x, y = (ras_to_xy @ [*ras, 1])[:2]
        return size[1] - 1 - round(y), round(x)

    del group
    return picture, place


def view_3d_picture(scene, size=(400, 400), from_direction=(0, 1, 0)):
    """A 3D view of everything, seen from the front unless told otherwise (RAS), as an array."""
    view = _named(scene, "vtkMRMLViewNode", "Test 3D")
    window, renderer = _window(size)
    renderer.SetBackground(0, 0, 0)
    group = _group(renderer, view, [SEGMENTS_3D], slicer.vtkMRMLThreeDViewDisplayableManagerFactory)
    camera = renderer.GetActiveCamera()
    camera.SetFocalPoint(0, 0, 0)
    camera.SetPosition(*from_direction)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    picture = _drawn(window)
    del group
    return picture


def _composite(logic):
    node = logic.GetSliceCompositeNode()
    if node is None:
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetLayoutName(logic.GetSliceNode().GetLayoutName())
        logic.GetMRMLScene().AddNode(node)
        logic.SetSliceCompositeNode(node)
    return node


def _named(scene, kind, name):
    node = scene.AddNewNodeByClass(kind, name)
    node.SetLayoutName(name)
    return node


def _window(size):
    window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)  # else translucent surfaces vanish
    window.SetSize(*size)
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    window.interactor = interactor
    return window, renderer


def _group(renderer, view, managers, factory):
    known = factory.GetInstance()
    for name in managers:
        if not known.IsDisplayableManagerRegistered(name):
            known.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    for name in managers:
        manager = getattr(slicer, name)()
        manager.SetMRMLApplicationLogic(application_logic())
        group.AddDisplayableManager(manager)
    group.SetMRMLDisplayableNode(view)
    return group


def _drawn(window):
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    x, y, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(y, x, -1)[::-1, :, :3].copy()
