"""The paper's figures, drawn from run folders: PNG, SVG with real text, and a JSON file that says what is shown.

A row of the table imports nothing: matplotlib is loaded when a figure is drawn.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FigureInfo:
    """Where a figure's function lives, and what it shows in one line."""

    target: str
    title: str


FIGURES: dict[int, FigureInfo] = {
    1: FigureInfo("curves:figure_1", "Upper loss and test accuracy of MLC and MLC-D"),
    2: FigureInfo("heat:figure_2", "Label correction of MLC-D and MLC"),
    3: FigureInfo("update:figure_3", "EBOMLC's update, from the gradients of a run"),
    4: FigureInfo("curves:figure_4", "Upper loss and test accuracy of all methods"),
    5: FigureInfo("curves:figure_5", "Upper and lower loss of EBOMLC and MLC-D, over epochs and over time"),
    6: FigureInfo("heat:figure_6", "Label correction of MLC and EBOMLC"),
    7: FigureInfo("points:figure_7", "EBOMLC by the number of inner steps: progress, accuracy, time"),
    8: FigureInfo("points:figure_8", "Test accuracy of EBOMLC by mixture weight and noise"),
    9: FigureInfo("curves:figure_9", "EBOMLC by noisy scale: losses, gradient norms, accuracy"),
}
