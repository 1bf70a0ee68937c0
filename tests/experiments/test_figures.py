"""Pictures of the pages: images inside them are kept byte for byte, in another writing."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

import numpy as np

from surefoot.experiments.figures import in_hexadecimal


def test_images_keep_their_bytes():
    data = np.random.default_rng(0).bytes(500)
    words = base64.encodebytes(data).decode()  # in lines, as matplotlib writes it
    svg = f'<svg><image xlink:href="data:image/png;base64,\n{words}" id="a"/><text>base</text></svg>'
    made = in_hexadecimal(svg)
    found = re.fullmatch(
        r'<svg><image xlink:href="data:image/png,([%0-9A-F]*)" id="a"/><text>base</text></svg>', made
    )
    assert found and unquote_to_bytes(found[1]) == data
    assert in_hexadecimal(made) == made
