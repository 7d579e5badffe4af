"""Small pictures of 28 x 28 numbers, as PNG inside of a URL."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.image import imsave


def picture(values: Sequence[float], least: float, most: float, colours: str = "gray") -> str:
    """Return a URL that holds a picture of 784 numbers.

    Args:
        values: Row by row.
        least: Gets the first colour, as does what is below it.
        most: Gets the last one.
        colours: Name of a colour map of Matplotlib.
    """
    content = io.BytesIO()
    pixels = np.reshape(np.asarray(values, float), (28, 28))
    imsave(content, pixels, vmin=least, vmax=most, cmap=colours, format="png")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
