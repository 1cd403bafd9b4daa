"""What a user of the panel does again and again."""

from standin.events import wait_until


def idle(widget):
    return lambda: widget.panel.run is None


def segmented(widget):
    widget.ui.segmentButton.click()
    assert widget.panel.run is not None
    return wait_until(idle(widget), 300)
