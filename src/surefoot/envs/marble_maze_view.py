"""Pictures of the Marble Maze: a wooden tray in perspective, or flat from above. NumPy and Pillow only.

How a picture is made. The floor is painted once a board, in high resolution and seen from above, with its
zones, goal and shadows. For each picture it is projected by a homography; the faces and tops of walls are
polygons that are projected likewise; ball, trail and instruments are drawn on top. The picture without ball
is kept for each tilt, of which an episode has few, so that most pictures only need the ball.

Coordinates of the tray are those of :mod:`surefoot.envs.marble_maze_board`, z upwards from the floor, px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from surefoot.envs import marble_maze_board as geometry
from surefoot.envs.marble_maze_board import HIGH, LOW, SIZE, Board

WALL_HEIGHT = 15.0
TRAY_DEPTH = 12.0
"""How far the tray reaches below its floor."""
BALL_SHOWN = 1.2
"""The ball is drawn this many times larger than it is."""
CAMERA_PITCH = 0.44
"""Angle of the view from straight above, towards the near edge, rad."""
CAMERA_DISTANCE = 1250.0
_ZOOM = 0.86
"""Size of the level tray in the picture."""
_STRONGER = 1.5
"""Small tilts are shown this many times stronger ..."""
_STRONGEST = 0.42
"""... and none beyond this, rad."""
_FINER = 2
"""Polygons are drawn this many times finer than the picture, then averaged."""
_TEXTURE = 960
"""Side of the painted floor in texels."""
_CORNER = 13.0
"""Radius of the tray's outer corners."""
_LIGHT = np.array([-0.45, -0.62, 0.64])
"""Direction to the light: from the upper left."""

_WOOD = np.array([201.0, 158.0, 105.0])
_WALL = np.array([142.0, 92.0, 52.0])
_WALL_TOP = (150, 100, 58)
_WALL_EDGE = (172, 122, 76)
_BACKGROUND = (np.array([250.0, 249.0, 247.0]), np.array([221.0, 222.0, 226.0]))
_RED = (208, 46, 40)
_INK = (58, 50, 44)
_TRAIL = (24, 92, 140)
_BALL = np.array([96.0, 146.0, 196.0])


def draw(
    board: Board | str,
    position: Sequence[float] | np.ndarray | None,
    tilt: Sequence[float] | np.ndarray = (0.0, 0.0),
    *,
    zones: bool = True,
    trail: np.ndarray | None = None,
    size: int = 480,
    perspective: bool = True,
    violated: bool = False,
    text: str = "",
    goal_radius: float = 24.0,
) -> np.ndarray:
    """One picture, ``[size, size, 3]`` uint8.

    Args:
        board: the board or its name.
        position: of the ball's centre in px; ``None`` leaves the ball out.
        tilt: about x and y in rad, shown somewhat stronger than it is.
        zones: whether the keep-out zones are drawn; a policy never sees them.
        trail: where the ball has been, ``[n, 2]`` px, oldest first; fades with age.
        size: side of the picture in pixels.
        perspective: from slightly above the near edge, or straight from above.
        violated: draws a red border and a red glow around the ball.
        text: one line in the lower left corner.
        goal_radius: of the ring around the goal, px.
    """
    board = geometry.board(board) if isinstance(board, str) else board
    about_x, about_y = (round(float(angle), 3) for angle in tilt)
    camera = _camera(about_x, about_y, size, perspective)
    empty, floor = _empty_scene(board, bool(zones), float(goal_radius), camera)
    image = empty.copy()
    if trail is not None and len(trail) > 1:
        _draw_trail(image, floor, camera, np.asarray(trail, float))
    if position is not None:
        _draw_ball(image, floor, camera, np.asarray(position, float), violated)
    level = _level(about_x, about_y, size)
    image.paste(level, (size - level.width, 0), mask=level)
    if text:
        label = _label(text, size)
        image.paste(label, (0, size - label.height), mask=label)
    if violated:
        image.paste(_RED, mask=_frame_mask(size))
    return np.array(image)


@dataclass(frozen=True)
class Camera:
    """A projection of the tray: homogeneous picture coordinates are ``matrix @ (x, y, z, 1)``."""

    matrix: tuple[tuple[float, ...], ...]
    size: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Picture coordinates ``[n, 2]`` of points ``[n, 3]``."""
        matrix = np.array(self.matrix)
        projected = points @ matrix[:, :3].T + matrix[:, 3]
        return projected[:, :2] / projected[:, 2:]

    def scale(self, point: np.ndarray) -> float:
        """Picture pixels a px of the tray at ``point`` ``[3]``."""
        around = point + np.array([[-1.0, 0, 0], [1.0, 0, 0], [0, -1.0, 0], [0, 1.0, 0]])
        left, right, far, near = self(around)
        return float(max(np.hypot(*(right - left)), np.hypot(*(near - far)))) / 2

    def sees(self, corners: np.ndarray) -> bool:
        """Whether the camera sees the front of a polygon ``[n, 3]``, ordered clockwise in the picture."""
        x, y = self(corners).T
        return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) > 1e-6

    def floor(self, z: float = 0.0) -> np.ndarray:
        """Homography ``[3, 3]`` from the plane at height ``z`` to the picture."""
        matrix = np.array(self.matrix)
        return np.stack([matrix[:, 0], matrix[:, 1], matrix[:, 2] * z + matrix[:, 3]], axis=1)


@lru_cache(maxsize=256)
def _camera(about_x: float, about_y: float, size: int, perspective: bool) -> Camera:
    centre = np.eye(4)
    centre[:2, 3] = -SIZE / 2
    if not perspective:
        scale = 0.92 * size / SIZE
        flat = np.array([[scale, 0, 0, size / 2], [0, scale, 0, size / 2], [0, 0, 0, 1]]) @ centre
        return Camera(tuple(map(tuple, flat.tolist())), size)
    a, b = (_STRONGEST * math.tanh(_STRONGER * angle / _STRONGEST) for angle in (about_x, about_y))
    # Positive tilt about x lowers the near edge (the ball rolls to larger y), about y the left edge.
    turn_x = np.array([[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]])
    turn_y = np.array([[math.cos(b), 0, -math.sin(b)], [0, 1, 0], [math.sin(b), 0, math.cos(b)]])
    tray = np.eye(4)
    tray[:3, :3] = turn_x @ turn_y
    cos, sin = math.cos(CAMERA_PITCH), math.sin(CAMERA_PITCH)
    eye = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, -sin, -cos, CAMERA_DISTANCE]])  # right, down, away
    focal = _ZOOM * CAMERA_DISTANCE * size / SIZE
    picture = np.array([[focal, 0, size / 2], [0, focal, size * 0.51], [0, 0, 1]])
    matrix = picture @ eye @ tray @ centre
    return Camera(tuple(map(tuple, matrix.tolist())), size)


# --- the scene without ball -------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _empty_scene(
    board: Board, zones: bool, goal_radius: float, camera: Camera
) -> tuple[Image.Image, Image.Image]:
    """The picture without ball, and a mask of where the floor is seen."""
    size = camera.size
    image = _background(size).copy()
    _draw_tray_shadow(image, camera)
    painted = _floor(board, zones, goal_radius, size)
    floor = painted.transform(
        (size, size), Image.Transform.PERSPECTIVE, _inverse(camera, painted.width), Image.Resampling.BILINEAR
    )
    seen = Image.new("L", (size, size))
    pen_seen = ImageDraw.Draw(seen)
    pen_seen.polygon(_flat(camera(_lifted(_square(LOW - 2, HIGH + 2), 0.0))), fill=255)
    image.paste(floor, mask=seen)
    fine = image.resize((size * _FINER, size * _FINER), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(fine)
    for face in _faces():
        if camera.sees(face):
            pen.polygon(_flat(camera(face) * _FINER), fill=_shade(face))
            pen_seen.polygon(_flat(camera(face)), fill=0)
    for top in _tops():
        corners = _flat(camera(top) * _FINER)
        pen.polygon(corners, fill=_WALL_TOP)
        pen.line([*corners, corners[0]], fill=_WALL_EDGE, width=_FINER)
        pen_seen.polygon(_flat(camera(top)), fill=0)
    return fine.reduce(_FINER), seen


def _shade(face: np.ndarray) -> tuple[int, int, int]:
    normal = np.cross(face[1] - face[0], face[3] - face[0])
    light = float(normal @ _LIGHT) / float(np.linalg.norm(normal))
    return _rgb(_WALL * (0.66 + 0.36 * light))


@lru_cache(maxsize=4)
def _background(size: int) -> Image.Image:
    inner, outer = _BACKGROUND
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    share = np.clip(np.hypot(x, y) / 0.72, 0, 1)[..., None] ** 1.6
    return Image.fromarray((inner + (outer - inner) * share).astype(np.uint8))


def _draw_tray_shadow(image: Image.Image, camera: Camera) -> None:
    """A soft shadow on the table; the tray floats above it."""
    size = camera.size
    small = size // 4
    mask = Image.new("L", (small, small))
    outline = camera(_lifted(_rounded(), -TRAY_DEPTH)) + size * np.array([0.014, 0.026])
    ImageDraw.Draw(mask).polygon(_flat(outline / 4), fill=105)
    mask = mask.filter(ImageFilter.GaussianBlur(small * 0.022)).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    image.paste((40, 36, 40), mask=mask)


@lru_cache(maxsize=8)
def _floor(board: Board, zones: bool, goal_radius: float, size: int) -> Image.Image:
    """The floor seen from above, somewhat finer than the picture: wood, shadows, zones, goal."""
    texels = int(size * 1.25)
    scale = texels / SIZE
    image = Image.fromarray(_wood(texels).astype(np.uint8))
    fine = image.resize((texels * _FINER, texels * _FINER), Image.Resampling.BILINEAR)
    if zones:
        fine = _paint_zones(fine, board, scale * _FINER)
    _paint_goal(fine, goal_radius, scale * _FINER)
    return _paint_shadows(fine.reduce(_FINER), scale)


def _wood(texels: int) -> np.ndarray:
    """Planks with a grain along x, ``[texels, texels, 3]``; the same at every call."""
    rng = np.random.default_rng(7)
    planks = 6
    y, x = np.mgrid[0:texels, 0:texels] / texels
    plank = np.minimum((y * planks).astype(int), planks - 1)
    offset = rng.uniform(0, 50, planks)[plank]
    tone = rng.uniform(-7, 7, planks)[plank]
    waves = np.zeros((texels, texels))
    for across, along, height in ((26, 1.1, 5.0), (61, 2.3, 3.5), (133, 3.1, 2.2)):
        bend = 0.35 * np.sin(2 * np.pi * (along * x + offset)) + 0.2 * np.sin(7.3 * x + 3 * offset)
        waves += height * np.sin(2 * np.pi * across * y / 3 + 3.0 * bend + offset * across)
    rows = rng.normal(0, 1, (texels, texels // 16 + 1)).repeat(16, axis=1)[:, :texels]
    seam = np.abs(y * planks - np.round(y * planks)) * texels / planks < 0.8
    shade = tone + waves + 2.2 * rows - 26.0 * seam
    return np.clip(_WOOD + shade[..., None] * np.array([1.0, 0.92, 0.75]), 0, 255)


def _paint_zones(image: Image.Image, board: Board, scale: float) -> Image.Image:
    """Keep-out zones: one soft red area with a hatch and a dashed rim."""
    inside = Image.new("L", image.size)
    pen = ImageDraw.Draw(inside)
    for zone in board.zones:
        pen.ellipse(_box(zone.x, zone.y, zone.radius, scale), fill=255)
    hatch = Image.new("L", image.size, 62)
    pen = ImageDraw.Draw(hatch)
    step, width = int(9 * scale), max(1, round(2.2 * scale))
    for start in range(-image.height, image.width, step):
        pen.line([(start, image.height), (start + image.height, 0)], fill=122, width=width)
    mask = Image.fromarray((np.asarray(hatch).astype(int) * np.asarray(inside) // 255).astype(np.uint8))
    image.paste(_RED, mask=mask)
    pen = ImageDraw.Draw(image)
    for zone in board.zones:
        others = [other for other in board.zones if other is not zone]
        angles = np.linspace(0, 2 * math.pi, int(zone.radius * 2), endpoint=False)
        for index, (start, end) in enumerate(zip(angles, np.roll(angles, -1), strict=True)):
            at = np.array([zone.x, zone.y]) + zone.radius * np.array([np.cos(start), np.sin(start)])
            covered = any(math.hypot(at[0] - o.x, at[1] - o.y) < o.radius for o in others)
            if index % 8 < 5 and not covered:
                to = np.array([zone.x, zone.y]) + zone.radius * np.array([np.cos(end), np.sin(end)])
                pen.line(_flat(np.array([at, to]) * scale), fill=_RED, width=round(2.4 * scale))
    return image


def _paint_goal(image: Image.Image, radius: float, scale: float) -> None:
    """A hole with a brass rim, and a thin ring where the goal counts as reached."""
    x, y = geometry.GOAL
    pen = ImageDraw.Draw(image)
    if radius > 16:
        pen.ellipse(_box(x, y, radius, scale), outline=(56, 120, 72), width=round(2.0 * scale))
    hole = 12.5
    pen.ellipse(_box(x, y, hole + 3.5, scale), fill=(226, 187, 92))
    pen.ellipse(_box(x, y, hole + 2.6, scale), fill=(164, 122, 44))
    for index in range(24):  # darker to the lower right, as the light comes from the upper left
        share = index / 23
        tone = np.array([64, 46, 32]) * (1 - share) + np.array([14, 10, 8]) * share
        shift = 2.4 * share
        box = _box(x - shift * 0.5, y - shift, (hole - 0.1) * (1 - 0.3 * share), scale)
        pen.ellipse(box, fill=tuple(int(v) for v in tone))


def _paint_shadows(image: Image.Image, scale: float) -> Image.Image:
    """Shadows of the walls on the floor: a long soft one away from the light, a short one all around."""
    solid = Image.new("L", image.size, 255)
    pen = ImageDraw.Draw(solid)
    pen.polygon(_flat(_square(LOW, HIGH) * scale), fill=0)
    for outline in _barriers():
        pen.polygon(_flat(outline * scale), fill=255)
    walls = np.asarray(solid, float)
    reach = WALL_HEIGHT * -_LIGHT[:2] / _LIGHT[2]
    cast = walls
    for share in (0.34, 0.67, 1.0):
        shift = np.round(share * reach * scale).astype(int)
        cast = np.maximum(cast, np.roll(walls, shift[::-1], (0, 1)))
    long, short = (
        np.asarray(
            Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur * scale)), float
        )
        for mask, blur in ((cast, 3.0), (walls, 7.0))
    )
    dark = 1 - 0.40 * long / 255 - 0.22 * short / 255
    return Image.fromarray((np.asarray(image, float) * dark[..., None]).astype(np.uint8))


# --- shapes -------------------------------------------------------------------------------------------


def _square(low: float, high: float) -> np.ndarray:
    return np.array([[low, low], [high, low], [high, high], [low, high]])


def _rounded() -> np.ndarray:
    """The tray's outline, clockwise in the picture."""
    turns = np.linspace(0, math.pi / 2, 7)
    points = []
    for quarter, (x, y) in enumerate(_square(_CORNER, SIZE - _CORNER)):
        angles = math.pi + quarter * math.pi / 2 + turns
        points.append(np.stack([x + _CORNER * np.cos(angles), y + _CORNER * np.sin(angles)], axis=1))
    return np.concatenate(points)


@lru_cache(maxsize=1)
def _barriers() -> tuple[np.ndarray, np.ndarray]:
    """Outlines of both barriers within the walls, clockwise in the picture."""
    start, *middle, end = (np.array(point) for point in geometry.BARRIER_A)
    first, last = middle[0], middle[-1]
    at_top = first + (start - first) * (LOW - first[1]) / (start[1] - first[1])
    at_side = last + (end - last) * (HIGH - last[0]) / (end[0] - last[0])
    outline = np.array([at_top, [HIGH, LOW], at_side, *middle[::-1]])
    return outline, outline[::-1, ::-1]


def _lifted(outline: np.ndarray, z: float) -> np.ndarray:
    return np.concatenate([outline, np.full((len(outline), 1), z)], axis=1)


def _sides(outline: np.ndarray, low: float, high: float) -> list[np.ndarray]:
    """The faces around an outline that is clockwise in the picture, each ``[4, 3]`` and seen from outside."""
    following = np.roll(outline, -1, axis=0)
    return [
        np.array([[*b, high], [*a, high], [*a, low], [*b, low]])
        for a, b in zip(outline, following, strict=True)
    ]


@lru_cache(maxsize=1)
def _faces() -> tuple[np.ndarray, ...]:
    """Upright faces ``[4, 3]``: of the tray's outside, of its inside, of the two barriers."""
    outside = _sides(_rounded(), -TRAY_DEPTH, WALL_HEIGHT)
    inside = _sides(_square(LOW, HIGH)[::-1], 0.0, WALL_HEIGHT)
    barriers = (face for outline in _barriers() for face in _sides(outline, 0.0, WALL_HEIGHT))
    return (*outside, *inside, *barriers)


@lru_cache(maxsize=1)
def _tops() -> tuple[np.ndarray, ...]:
    """Flat tops: the frame as four trapezia with rounded ends, and the barriers."""
    outline, inner = _rounded(), _square(LOW, HIGH)
    quarter = len(outline) // 4
    middle = quarter // 2
    frame = []
    for side in range(4):
        edge = np.take(
            outline, range(side * quarter + middle, (side + 1) * quarter + middle + 1), 0, mode="wrap"
        )
        frame.append(np.concatenate([edge, inner[(side + 1) % 4][None], inner[side][None]]))
    return tuple(_lifted(shape, WALL_HEIGHT) for shape in (*frame, *_barriers()))


# --- what moves ---------------------------------------------------------------------------------------


def _draw_trail(image: Image.Image, floor: Image.Image, camera: Camera, trail: np.ndarray) -> None:
    points = camera(_lifted(trail, 0.0))
    width = 4.0 * camera.size / SIZE
    corner, box = _crop(points.min(axis=0), points.max(axis=0), 2 * width, camera.size)
    if box is None:
        return
    mask = Image.new("L", (_FINER * (box[2] - box[0]), _FINER * (box[3] - box[1])))
    pen = ImageDraw.Draw(mask)
    fine = (points - corner) * _FINER
    age = np.arange(len(points))[::-1]
    strength = (45 + 190 * np.exp(-age / 25)).astype(int)
    half = width * _FINER / 2
    for (ax, ay), (bx, by), dark in zip(fine[:-1], fine[1:], strength[1:], strict=True):
        pen.line([(ax, ay), (bx, by)], fill=int(dark), width=max(1, round(2 * half)))
        pen.ellipse([bx - half, by - half, bx + half, by + half], fill=int(dark))
    image.paste(_TRAIL, box, mask=_both(mask.reduce(_FINER), floor.crop(box)))


def _draw_ball(
    image: Image.Image, floor: Image.Image, camera: Camera, position: np.ndarray, violated: bool
) -> None:
    """Shaded analytically around its exact place, so that it moves smoothly between pixels."""
    at = np.array([*position, geometry.BALL_RADIUS])
    centre, radius = camera(at[None])[0], BALL_SHOWN * geometry.BALL_RADIUS * camera.scale(at)
    reach = -_LIGHT[:2] / _LIGHT[2] * geometry.BALL_RADIUS
    ground = camera(np.array([[*(position + reach), 0.0]]))[0]
    _, box = _crop(centre, centre, 3.2 * radius, camera.size)
    if box is None:
        return
    before = image.crop(box)
    pixels = np.asarray(before, float)
    y, x = np.mgrid[box[1] : box[3], box[0] : box[2]] + 0.5
    on_floor = np.asarray(floor.crop(box), float) / 255
    shadow = 0.5 * np.clip(1.35 - np.hypot(x - ground[0], y - ground[1]) / radius, 0, 0.7) / 0.7 * on_floor
    pixels = pixels * (1 - shadow[..., None])
    u, v = (x - centre[0]) / radius, (y - centre[1]) / radius
    distance = np.hypot(u, v)
    if violated:
        glow = 0.75 * np.clip(2.4 - distance, 0, 1.0)[..., None]
        pixels = pixels * (1 - glow) + np.array(_RED) * glow
    up = np.sqrt(np.clip(1 - distance**2, 0, 1))
    light = np.clip(u * _LIGHT[0] + v * _LIGHT[1] + up * _LIGHT[2], 0, 1)
    # Halfway between the light and the eye, which looks straight down the picture's axis.
    half = (_LIGHT + np.array([0, 0, 1])) / np.linalg.norm(_LIGHT + np.array([0, 0, 1]))
    shine = np.clip(u * half[0] + v * half[1] + up * half[2], 0, 1) ** 40
    rim = (1 - up) ** 3
    colour = _BALL * (0.28 + 0.85 * light[..., None]) + 255 * (0.9 * shine + 0.18 * rim)[..., None]
    cover = np.clip((1 - distance) * radius + 0.5, 0, 1)[..., None]
    pixels = pixels * (1 - cover) + np.clip(colour, 0, 255) * cover
    after = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    after.paste(before, mask=_in_front(camera, position, box))
    image.paste(after, box)


def _in_front(camera: Camera, position: np.ndarray, box: tuple[int, int, int, int]) -> Image.Image:
    """Mask of the walls that stand between the camera and the ball.

    A wall stands behind the ball if the camera sees the face that the wall turns to the ball.
    """
    finer = 4
    mask = Image.new("L", (finer * (box[2] - box[0]), finer * (box[3] - box[1])))
    pen = ImageDraw.Draw(mask)
    frame, barriers = _tops()[:4], _tops()[4:]
    inside = _sides(_square(LOW, HIGH), 0.0, WALL_HEIGHT)
    hidden = [top for top, face in zip(frame, inside, strict=True) if camera.sees(face)]
    for outline, top in zip(_barriers(), barriers, strict=True):
        faces = _sides(outline, 0.0, WALL_HEIGHT)
        nearest = min(faces, key=lambda face: _to_segment(position, face[0, :2], face[1, :2]))
        if not camera.sees(nearest):
            hidden += [top, *(face for face in faces if camera.sees(face))]
    for shape in hidden:
        pen.polygon(_flat((camera(shape) - np.array(box[:2])) * finer), fill=255)
    return mask.reduce(finer)


# --- instruments --------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _level(about_x: float, about_y: float, size: int) -> Image.Image:
    """A spirit level for the upper right corner: the dot shows where the ball is pulled, and how hard."""
    finer = 4
    side = round(0.105 * size) * finer
    image = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    pen = ImageDraw.Draw(image)
    centre, radius = side * 0.5, side * 0.40
    line = max(1, side // 60)
    pen.ellipse(
        _box(centre, centre, radius, 1.0), fill=(255, 255, 255, 215), outline=(*_INK, 255), width=line
    )
    pen.ellipse(_box(centre, centre, radius / 2, 1.0), outline=(*_INK, 70), width=line)
    for step in np.array([[radius, 0.0], [0.0, radius]]):
        pen.line(_flat(centre + np.array([-step, step])), fill=(*_INK, 70), width=line)
    pull = np.array([-about_y, about_x]) / 0.5
    x, y = centre + 0.84 * radius * pull / max(1.0, float(np.hypot(*pull)))
    pen.line([(centre, centre), (x, y)], fill=(*_TRAIL, 255), width=2 * line)
    pen.ellipse(_box(x, y, radius * 0.16, 1.0), fill=(*_TRAIL, 255))
    return image.reduce(finer)


@lru_cache(maxsize=64)
def _label(text: str, size: int) -> Image.Image:
    """One line of text on a light ground."""
    font = ImageFont.load_default(max(10, round(size / 34)))
    left, top, right, bottom = font.getbbox(text)
    gap = round(size / 80)
    width, height = int(right - left) + 4 * gap, int(bottom - top) + 4 * gap
    image = Image.new("RGBA", (width, height), (255, 255, 255, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle([gap, gap, width - gap, height - gap], radius=gap, fill=(255, 255, 255, 205))
    pen.text((2 * gap - left, 2 * gap - top), text, font=font, fill=(*_INK, 255))
    return image


@lru_cache(maxsize=4)
def _frame_mask(size: int) -> Image.Image:
    """A border that fades inwards."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    edge = np.minimum(np.minimum(x, size - x), np.minimum(y, size - y)) / size
    return Image.fromarray(np.where(edge < 0.010, 255, 130 * np.clip(1 - edge / 0.05, 0, 1)).astype(np.uint8))


# --- small things -------------------------------------------------------------------------------------


def _flat(points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _box(x: float, y: float, radius: float, scale: float) -> list[float]:
    return [(x - radius) * scale, (y - radius) * scale, (x + radius) * scale, (y + radius) * scale]


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in np.clip(colour, 0, 255))
    return red, green, blue


def _both(a: Image.Image, b: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(a).astype(int) * np.asarray(b) // 255).astype(np.uint8))


def _inverse(camera: Camera, texels: int) -> tuple[float, ...]:
    """Pillow's eight numbers that lead from the picture to the painted floor."""
    to_picture = camera.floor() @ np.diag([SIZE / texels, SIZE / texels, 1.0])
    back = np.linalg.inv(to_picture)
    return tuple((back / back[2, 2]).reshape(-1)[:8].tolist())


def _crop(
    low: np.ndarray, high: np.ndarray, margin: float, size: int
) -> tuple[np.ndarray, tuple[int, int, int, int] | None]:
    """Its upper left corner, and the part of the picture around ``low`` to ``high``; ``None`` if outside."""
    left, top = (max(0, math.floor(v - margin)) for v in low)
    right, bottom = (min(size, math.ceil(v + margin)) for v in high)
    box = (left, top, right, bottom) if left < right and top < bottom else None
    return np.array([left, top]), box


def _to_segment(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    along = b - a
    share = float(np.clip((point - a) @ along / (along @ along), 0, 1))
    return float(np.hypot(*(point - a - share * along)))


# --- for plots ----------------------------------------------------------------------------------------


def draw_board_svg(ax: Any, board: Board | str, *, goal_radius: float = 24.0, starts: bool = True) -> None:
    """Draws walls, barriers, zones, goal and starts on matplotlib axes; px units, y downwards.

    Paths of the ball can then be plotted in px on the same axes.
    """
    from matplotlib import patches

    board = geometry.board(board) if isinstance(board, str) else board
    wood, floor, red = "#8a5a33", "#f3e6d0", "#d02e28"
    ax.add_patch(patches.Rectangle((0, 0), SIZE, SIZE, facecolor=wood, edgecolor="none", zorder=0))
    inside = {"facecolor": floor, "edgecolor": "none", "zorder": 0.1}
    ax.add_patch(patches.Rectangle((LOW, LOW), HIGH - LOW, HIGH - LOW, **inside))
    for outline in _barriers():
        ax.add_patch(patches.Polygon(outline, facecolor=wood, edgecolor="none", zorder=0.3))
    for zone in board.zones:
        ax.add_patch(
            patches.Circle(
                (zone.x, zone.y), zone.radius, facecolor=red, alpha=0.22, edgecolor="none", zorder=0.2
            )
        )
        ax.add_patch(
            patches.Circle(
                (zone.x, zone.y),
                zone.radius,
                fill=False,
                edgecolor=red,
                linewidth=1,
                linestyle="--",
                zorder=0.25,
            )
        )
    ax.add_patch(
        patches.Circle(geometry.GOAL, goal_radius, fill=False, edgecolor="#2c7a4b", linewidth=1, zorder=0.4)
    )
    ax.add_patch(patches.Circle(geometry.GOAL, 10, facecolor="#2b2018", edgecolor="#c9a04c", zorder=0.4))
    if starts:
        spread = geometry.START_SPREAD
        for x, y in geometry.CORNERS.values():
            low = np.maximum([x - spread, y - spread], LOW)
            high = np.minimum([x + spread, y + spread], HIGH)
            place = {"facecolor": "#185c8c", "alpha": 0.10, "edgecolor": "none", "zorder": 0.15}
            ax.add_patch(patches.Rectangle(tuple(low), *(high - low), **place))
    ax.set_xlim(0, SIZE)
    ax.set_ylim(SIZE, 0)
    ax.set_aspect("equal")
    ax.set_axis_off()
