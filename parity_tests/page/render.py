"""Templates to HTML: everything is escaped, and the data can be taken out again."""

import json
import math
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_ENVIRONMENT = Environment(
    loader=PackageLoader("parity_tests.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
DECADES = 4
"""How far below its bound a difference still shows in a bar, in powers of ten."""
_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def rendered(template: str, data: dict[str, Any], **context: Any) -> str:
    """Return a page.

    Args:
        template: Name of a file in `templates`.
        data: What the page is made of; it is embedded as JSON.
        **context: The names of the template.
    """
    text = json.dumps(finite(data), allow_nan=False, separators=(",", ":"))
    # No tag and no comment can begin in it, whatever a port says.
    embedded = text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
    page = _ENVIRONMENT.get_template(template)
    return page.render(data=Markup(embedded), **context)  # noqa: S704 (it is JSON, without tags)


def embedded_data(path: Path) -> dict[str, Any]:
    """Return the data of a page that was written to a file.

    Raises:
        ValueError: If it holds none.
    """
    found = _DATA.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path} holds no data: expected a page that the proof or check wrote")
    return json.loads(found[1])


def finite(value: Any) -> Any:
    """Return a value for JSON, which has no numbers that are not finite: they become text."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def bar(share: float, most: float = 0.0) -> float:
    """Return the length of a bar for a share of a bound, in percent on a logarithmic scale.

    Args:
        share: Of the bound; a bar of 0 is empty.
        most: The power of ten of the share whose bar is full.
    """
    if not share > 0:  # nothing differed, or nothing can be said
        return 0.0
    length = (math.log10(share) + DECADES) / (most + DECADES)
    return round(100 * min(1.0, max(0.02, length)), 1)
