"""The montage: every well of a plate as a small square in the place where it is on the plate."""

from __future__ import annotations

import numpy as np

from hcs_steps.plate.wells import parse_well
from hcs_steps.report._compose import FAILED, MISSING, Rgb8, picture_file

WIDTH = 1536
SMALLEST, LARGEST = 16, 128
GAP = 1


def tile_size(columns: int) -> int:
    """Edge of a well's square in pixels: about `WIDTH` for the whole plate (64 on 384 wells, 32 on 1,536)."""
    return min(LARGEST, max(SMALLEST, WIDTH // columns))


class Sprite:
    """The montage while it is put together. Wells without a picture are grey, failed ones crossed out."""

    def __init__(self, rows: int, columns: int, tile: int) -> None:
        self.tile = tile
        self.pixels: Rgb8 = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
        for row in range(rows):
            for column in range(columns):
                self._square(row, column)[:] = MISSING

    def place(self, well: str, picture: Rgb8) -> None:
        """Put a picture (Y, X, 3) into the well's square, as large as it fits, in the middle."""
        from PIL import Image as Pillow

        square = self._square(*parse_well(well))
        room = self.tile - GAP
        scale = room / max(picture.shape[:2])
        height, width = (max(1, min(room, round(length * scale))) for length in picture.shape[:2])
        small = np.asarray(Pillow.fromarray(picture).resize((width, height), Pillow.Resampling.BOX))
        top, left = (room - height) // 2, (room - width) // 2
        square[top : top + height, left : left + width] = small

    def cross(self, well: str) -> None:
        """Mark a well as failed: a cross from corner to corner."""
        square = self._square(*parse_well(well))
        rows, columns = np.indices(square.shape[:2])
        thick = max(1, self.tile // 24)
        last = self.tile - GAP - 1
        square[(abs(rows - columns) < thick) | (abs(rows + columns - last) < thick)] = FAILED

    def file(self) -> bytes:
        """The montage as an image file."""
        return picture_file(self.pixels)

    def _square(self, row: int, column: int) -> Rgb8:
        top, left = row * self.tile, column * self.tile
        return self.pixels[top : top + self.tile - GAP, left : left + self.tile - GAP]
