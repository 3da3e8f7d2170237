"""Pictures in, portraits out: `read_image` and `prepare_portrait`, the whole of stage 0."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..payloads import PayloadError, Portrait
from .affine import CROP_SCALE, CROP_SIZE, square_crop
from .geometry import head_pose
from .landmarks import LandmarkSource, choose_face, find_faces


def prepare_portrait(
    image: Tensor,
    *,
    landmarks: LandmarkSource | None = None,
    face_landmarker: str | Path | None = None,
    face_index: int = 0,
    crop_scale: float = CROP_SCALE,
    mask: Tensor | None = None,
    allow_download: bool = False,
    picture: str = "image 1 of 1",
) -> Portrait:
    """Find a face and describe it: landmarks, box, square crop, head pose.

    Args:
        image: `[H, W, 3]` uint8, sRGB, any size.
        landmarks: a JSON file, its content, or the host's FACE_LANDMARKS; then no detector runs.
        face_landmarker: MediaPipe's `face_landmarker.task`.
        face_index: which face, by size: 0 = the largest.
        crop_scale: side of the crop in sizes of the face (forehead to chin, or its width).
        mask: `[H, W]` float32, 1 where the face may change, 0 where the picture must stay.
        allow_download: whether face-alignment may fetch its weights (`find_faces`).
        picture: what to call the picture in errors.

    Raises:
        NoFaceError: no face in the picture.
        PayloadError: anything else that does not fit, in one sentence.
    """
    if not 1.0 <= crop_scale <= 10.0:
        raise PayloadError(
            f"A crop of {crop_scale} face sizes was asked for; 1 to 10 are possible."
        )
    faces = find_faces(
        image,
        landmarks=landmarks,
        face_landmarker=face_landmarker,
        allow_download=allow_download,
        picture=picture,
    )
    face = choose_face(faces, face_index)
    pitch, yaw, roll = head_pose(face.landmarks).tolist()
    return Portrait(
        image=image,
        landmarks=face.landmarks,
        box=face.box,
        crop=square_crop(face.landmarks, scale=crop_scale),
        crop_size=CROP_SIZE,
        rotation=(pitch, yaw, roll),
        dense=face.dense,
        mask=mask,
        num_faces=len(faces),
    )


def read_image(path: str | Path) -> Tensor:
    """A picture file as `[H, W, 3]` uint8, sRGB, upright.

    The camera's orientation tag is obeyed; 16-bit, grey, palette and CMYK pictures are converted;
    what is transparent becomes mid-grey, which harms neither dark nor light hair.

    Raises:
        PayloadError: no such file, not a picture, or a damaged one.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large is fine
            opened = Image.open(path)
        with opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except FileNotFoundError:
        raise PayloadError(f"The picture '{path}' does not exist.") from None
    except UnidentifiedImageError:
        raise PayloadError(
            f"'{path}' is not a picture that can be read. Give a PNG, JPEG, WebP, TIFF or BMP."
        ) from None
    except Image.DecompressionBombError:
        raise PayloadError(f"The picture '{path}' is too large to be opened safely.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PayloadError(f"The picture '{path}' cannot be read: {error}.") from None
    return torch.from_numpy(np.array(_to_rgb(upright)))


def _to_rgb(picture: Any) -> Any:
    """`picture` as 8-bit RGB, transparency over mid-grey."""
    import numpy as np
    from PIL import Image

    if picture.mode.startswith(("I", "F")):  # 16-bit grey and beyond: full range to 8 bits
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if picture.mode.startswith("I") else max(1.0, float(values.max(initial=0)))
        picture = Image.fromarray((values.clip(0, top) / top * 255).round().astype(np.uint8))
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (128, 128, 128, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")
