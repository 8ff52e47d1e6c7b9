"""Takes a photograph: sky, ground, the lit front, what stands before it, and the film."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from . import props, wall
from .building import Layout, Style
from .camera import inverse, jacobian, project
from .canvas import Canvas, Colour, Pixels, mix, shade
from .recipe import SKY, stream
from .shot import Film, Prop, Shot
from .warp import Matrix, Texture, lay_over

_SKIES: tuple[tuple[Colour, Colour, Colour], ...] = (  # zenith, horizon, clouds
    ((86, 138, 200), (190, 212, 230), (244, 246, 248)),
    ((120, 160, 206), (214, 222, 226), (250, 250, 250)),
    ((168, 178, 188), (206, 210, 212), (226, 228, 230)),
    ((140, 148, 158), (184, 188, 192), (120, 126, 134)),
    ((96, 110, 160), (246, 190, 140), (252, 214, 176)),
    ((70, 120, 190), (236, 214, 186), (255, 240, 220)),
)
_NIGHT: tuple[Colour, Colour, Colour] = ((34, 40, 66), (96, 92, 104), (64, 66, 88))
_GROUND_M, _GROUND_PPM = 32.0, 24
_FAR_GROUND: Colour = (132, 130, 126)


def photograph(front: Texture, front_ppm: int, style: Style, layout: Layout, shot: Shot) -> Pixels:
    """(height, width, 3) RGB; front is the building's lit texture of front_ppm pixels a metre."""
    image = _sky(shot)
    _skyline(image, shot)
    _lay_ground(image, shot)
    _side_walls(image, style, layout, shot)
    homography = shot.camera.front()
    to_texture = np.array([[front_ppm, 0, -0.5], [0, -front_ppm, layout.top_m * front_ppm - 0.5], [0, 0, 1.0]])
    middle = np.array([[shot.camera.target[0], shot.camera.target[1]]])
    reach = np.abs(jacobian(homography, middle)[0])
    shrink = (front_ppm / max(1e-6, float(reach[0, 0])), front_ppm / max(1e-6, float(reach[1, 1])))
    lay_over(image, front.sample(to_texture @ inverse(homography), shot.camera.size, shrink=shrink))
    for piece, left, top in prop_pieces(shot):
        lay_over(image, piece, left, top)
    return develop(image, shot.film)


def prop_pieces(shot: Shot) -> list[tuple[Pixels, int, int]]:
    """(RGBA piece, left, top) of each occluder, far ones first."""
    return [placed for prop in shot.props if (placed := _place(shot, prop)) is not None]


def _place(shot: Shot, prop: Prop) -> tuple[Pixels, int, int] | None:
    sprite, camera = props.sprite(prop.kind, prop.variant), shot.camera
    away = np.subtract(camera.target, camera.position)
    sideways = np.array([-away[2], 0, away[0]]) / np.hypot(away[0], away[2]) * (sprite.width_m / 2)
    foot = np.array([prop.x_m, 0, prop.z_m])
    ends, depth = project(
        camera.projection(), np.stack((foot - sideways, foot + sideways, np.add(foot, (0, sprite.height_m, 0))))
    )
    if depth.min() < 0.5:
        return None
    left, right, top = ends
    across, base = (right - left) / sprite.width_m, (left + right) / 2  # pixels a metre
    up = (top - base) / sprite.height_m
    corners = np.array([end + h * up for end in (left, right) for h in (0.0, sprite.height_m)])
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, camera.size)
    if (high <= low).any():
        return None
    to_image = np.array([[across[0], up[0], base[0]], [across[1], up[1], base[1]], [0, 0, 1.0]])
    ppm, (x, y), (width, height) = sprite.ppm, low.tolist(), (high - low).tolist()
    to_texture = np.array(
        [[ppm, 0, sprite.width_m / 2 * ppm - 0.5], [0, -ppm, sprite.height_m * ppm - 0.5], [0, 0, 1.0]]
    )
    shrink = ppm / max(1e-6, float(np.hypot(*up)))
    piece = sprite.texture.sample(
        to_texture @ inverse(to_image), (width, height), shrink=(shrink, shrink), offset=(x, y)
    )
    return piece, x, y


def _horizon(shot: Shot) -> tuple[float, float]:
    """Rows of the horizon at the image's left and right edge."""
    a, b, c = inverse(shot.camera.ground())[2]
    width = shot.camera.size[0]
    b = b if abs(b) > 1e-9 else 1e-9
    return -c / b, -(a * width + c) / b


def _sky(shot: Shot) -> Pixels:
    width, height = shot.camera.size
    zenith, horizon, cloud = _SKIES[shot.film.sky % len(_SKIES)] if shot.film.sky >= 0 else _NIGHT
    level = max(1.0, sum(_horizon(shot)) / 2)
    ramp = np.clip(2 * np.arange((height + 1) // 2) / level, 0, 1)[:, None]
    rows = np.rint(np.asarray(zenith) * (1 - ramp) + np.asarray(horizon) * ramp).astype(np.uint16)
    seed = abs(shot.film.sky)
    cover = _cloud_cover()[seed // 7 % 128 :, seed // 11 % 256 :][: (height + 1) // 2, : (width + 1) // 2, None]
    small = (rows[:, None] * (255 - cover) + np.asarray(cloud, np.uint16) * cover + 127) // 255
    return np.asarray(cv2.resize(small.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR_EXACT))


@functools.cache
def _cloud_cover() -> np.ndarray:
    """(400, 520) uint16, 0 to 255: how much cloud."""
    noise = wall.clouds(stream(0, SKY, 0), 400, 520, 60, 90).astype(np.int32)
    blurred = cv2.blur(np.clip((noise - 128) * 3, 0, 235).astype(np.uint8), (9, 9))
    return blurred.astype(np.uint16)


def _skyline(image: Pixels, shot: Shot) -> None:
    """Hazy roofs along the horizon."""
    left, right = _horizon(shot)
    rng, width = stream(abs(shot.film.sky), SKY, 1), shot.camera.size[0]
    red, green, blue = image[min(max(0, int(min(left, right)) - 1), image.shape[0] - 1), 0].tolist()
    x = 0.0
    while x < width:
        wide, tall = float(rng.uniform(0.05, 0.16)) * width, float(rng.uniform(0.04, 0.2)) * width
        base = left + (right - left) * x / width
        tone = mix((110, 108, 112), (red, green, blue), float(rng.uniform(0.45, 0.8)))
        cv2.rectangle(image, (round(x), round(base - tall)), (round(x + wide), round(base + 0.1 * width)), tone, -1)
        x += wide


@functools.cache
def _ground() -> Texture:
    """Pavement and road, repeated every 32 m along and away from the front."""
    rng = stream(0, SKY, 2)
    canvas = Canvas(_GROUND_M, _GROUND_M, _GROUND_PPM)
    wall.lay(canvas, (0, 0, 32, 32), (150, 144, 136), "ashlar", rng)
    canvas.rect(0, 5, 32, 13, (84, 84, 88))
    canvas.rect(0, 21, 32, 28, (88, 87, 90))
    for z in (4.7, 13.0, 20.7, 28.0):
        canvas.rect(0, z, 32, z + 0.3, (182, 178, 170))
    for k in range(8):
        canvas.rect(4 * k, 8.9, 4 * k + 2, 9.1, (214, 212, 204))
    worn = cv2.addWeighted(canvas.colour, 0.5, cv2.blur(canvas.colour, (15, 15)), 0.5, 0)
    height, width = canvas.alpha.shape
    tone = wall.clouds(rng, height, width, 40, 22)
    lit = cv2.multiply(worn, cv2.merge((tone, tone, tone)), scale=1 / 128)
    return Texture(np.concatenate((lit, canvas.alpha[..., None]), axis=2))


def _lay_ground(image: Pixels, shot: Shot) -> None:
    width, height = shot.camera.size
    top = max(0, int(min(_horizon(shot))) + 1)
    if top >= height:
        return
    to_ground = inverse(shot.camera.ground())
    ppm = _GROUND_PPM
    to_texture = np.array([[ppm, 0, 0], [0, -ppm, _GROUND_M * ppm], [0, 0, 1.0]]) @ to_ground
    shrink = ppm / (shot.camera.focal / max(1.0, abs(shot.camera.position[2])))
    floor = _ground().sample(to_texture, (width, height - top), shrink=(shrink, 2 * shrink), offset=(0, top), wrap=True)
    x, y = np.arange(width)[None, :], np.arange(top, height)[:, None]
    nearness = to_ground[2, 0] * x + (to_ground[2, 1] * y + to_ground[2, 2])
    # joints and lines fade into one grey beyond 15 m, where they would flicker
    far = np.clip(255 - 4000 * nearness[:, width // 2, None, None], 0, 216).astype(np.uint16)
    faded = (floor[..., :3] * (255 - far) + np.array(_FAR_GROUND, np.uint16) * far + 127) // 255
    cv2.copyTo(faded.astype(np.uint8), (nearness > 1 / 300).astype(np.uint8), image[top:])


def _side_walls(image: Pixels, style: Style, layout: Layout, shot: Shot) -> None:
    """The blank walls at the front's ends, going back 9 m; only the one that faces the camera is drawn."""
    x = shot.camera.position[0]
    for edge, seen in ((0.0, x < 0), (layout.width_m, x > layout.width_m)):
        corners = np.array([[edge, 0, 0], [edge, layout.eaves_m, 0], [edge, layout.eaves_m, -9], [edge, 0, -9.0]])
        pixels, depth = project(shot.camera.projection(), corners)
        if seen and depth.min() > 0.5:
            cv2.fillPoly(image, [np.rint(pixels * 8).astype(np.int32)], shade(style.wall, 0.62), shift=3)


def develop(image: Pixels, film: Film) -> Pixels:
    """Light and sensor: a table a channel, blur in exact arithmetic, and grain."""
    ramp = np.arange(256) / 255.0
    curves = [np.clip(255 * np.clip(ramp * gain, 0, 1.2) ** (1 / film.gamma), 0, 255) for gain in film.gain]
    table = np.stack([film.lift + c * (255 - film.lift) / 255 for c in curves], axis=1)
    developed = cv2.LUT(image, np.rint(table).astype(np.uint8)[None])
    if film.blur:
        developed = cv2.GaussianBlur(developed, (0, 0), film.blur)
    if film.noise:
        part = (
            slice(film.grain[0], film.grain[0] + image.shape[0]),
            slice(film.grain[1], film.grain[1] + image.shape[1]),
        )
        brighter, darker = _grain(film.noise)
        developed = cv2.subtract(cv2.add(developed, brighter[part]), darker[part])
    return np.asarray(developed, np.uint8)


@functools.cache
def _grain(deviation: int) -> tuple[Pixels, Pixels]:
    """What to add and what to take away, (640, 640, 3) each: roughly normal noise of that standard deviation."""
    parts = stream(0, SKY, 3).integers(-111, 112, (4, 640, 640, 3), dtype=np.int16)
    grain = parts.sum(axis=0, dtype=np.int16) * np.int16(deviation) >> 7
    return np.maximum(grain, 0).astype(np.uint8), np.maximum(-grain, 0).astype(np.uint8)


__all__ = ["Matrix", "develop", "photograph", "prop_pieces"]
