"""What a face crop looks like: light, blur, skin lightness, pose. Rough measures, for overviews.

Of pose, five points tell little: degrees here are good for 'frontal', 'turned', 'far turned', not
for more. Lightness of skin is the individual typology angle (ITA) of dermatology, on patches of the
crop: light and camera move it, so it compares people of one camera, if at all.

Shapes: N = frames, S = side of a crop. Crops are RGB bytes, eyes level.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]

LOOKED_AT = 64  # pixels; crops are brought to this side first, so that figures compare
_PATCHES = ((0.30, 0.60), (0.70, 0.60), (0.50, 0.26))  # cheeks and forehead, as x, y
_PATCH = 0.06  # half a side
_NOSE_DEPTH = 0.62  # how far a nose stands out, in distances of the eyes
_NOSE_HEIGHT = 0.50  # of a frontal face: from the eyes down to the mouth
_PITCH_DEGREES = 110.0  # for each unit that the nose moves between eyes and mouth

ITA_CLASSES = (
    ("very light", 55.0), ("light", 41.0), ("intermediate", 28.0), ("tan", 10.0),
    ("brown", -30.0), ("dark", -90.0),
)  # fmt: skip
"""Names and lower bounds in degrees (Chardon et al., 1991; del Bino and Bernerd, 2013)."""


def looks(image: Image) -> tuple[float, float, float, float]:
    """Return brightness 0-1, unevenness of light, sharpness and ITA of one crop.

    Unevenness is the share by which the brighter half of the face outshines the darker. Sharpness
    is the deviation of the Laplacian, in grey levels.
    """
    small = cv2.resize(image, (LOOKED_AT, LOOKED_AT), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float64)
    face = grey[LOOKED_AT // 5 : -LOOKED_AT // 8, LOOKED_AT // 5 : -LOOKED_AT // 5]
    half = face.shape[1] // 2
    left, right = face[:, :half].mean(), face[:, -half:].mean()
    uneven = abs(left - right) / max((left + right) / 2, 1.0)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).std())
    return float(face.mean() / 255), float(uneven), sharpness, _ita(small)


def _ita(small: NDArray[np.generic]) -> float:
    lab = cv2.cvtColor((np.asarray(small) / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    patches = []
    for x, y in _PATCHES:
        rows = slice(int((y - _PATCH) * LOOKED_AT), int((y + _PATCH) * LOOKED_AT))
        columns = slice(int((x - _PATCH) * LOOKED_AT), int((x + _PATCH) * LOOKED_AT))
        patches.append(lab[rows, columns].reshape(-1, 3))
    lightness, _, yellow = np.median(np.concatenate(patches), axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, max(float(yellow), 1e-3))))


def ita_class(ita: float) -> str:
    """Return the class of an angle."""
    return next((name for name, least in ITA_CLASSES if ita >= least), ITA_CLASSES[-1][0])


def pose(points: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return yaw, pitch and roll in degrees, roughly. Positive yaw: the nose is to the right.

    Shape of points: (5, 2), as ``core_model.data.face`` has them.
    """
    right_eye, left_eye, nose, right_mouth, left_mouth = points.astype(np.float64)
    across = left_eye - right_eye
    distance = max(float(np.hypot(*across)), 1e-6)
    x = across / distance
    y = np.array([-x[1], x[0]])
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    sideways = float((nose - eyes) @ x) / distance
    down, whole = float((nose - eyes) @ y), max(float((mouth - eyes) @ y), 1e-6)
    yaw = np.degrees(np.arcsin(np.clip(sideways / _NOSE_DEPTH, -1, 1)))
    pitch = np.clip((down / whole - _NOSE_HEIGHT) * _PITCH_DEGREES, -90, 90)
    return float(yaw), float(pitch), float(np.degrees(np.arctan2(across[1], across[0])))


def perceptual_hash(image: Image) -> int:
    """Return 64 bits that stay nearly the same when an image is scaled, lit or compressed anew."""
    small = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA
    )
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0])
