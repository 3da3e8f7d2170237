"""face-alignment (Bulat & Tzimiropoulos 2017) as a source of landmarks.

Its S3FD finds the faces, its 3D-FAN the 68 points as they project; their depth comes from the mean
face. (The package's own depth network is left alone: its file would have to be unpickled.) The
package downloads what it lacks, so its files are looked for first, and without permission to
download nothing is started.
"""

from __future__ import annotations

import inspect
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from ..payloads import PayloadError
from .face import Face


def detect(image: Tensor, *, allow_download: bool = False) -> list[Face]:
    """All faces that face-alignment sees in `image` `[H, W, 3]` uint8, in no order.

    Raises:
        PayloadError: weight files are absent and may not be downloaded, or cannot be opened.
    """
    if not allow_download and missing_files():
        raise PayloadError(f"face-alignment lacks its weights: put {where_files_belong()}.")
    import face_alignment

    options = {"device": "cpu", "compile": False}
    known = inspect.signature(face_alignment.FaceAlignment).parameters  # older ones lack `compile`
    try:
        network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_HALF_D,
            **{name: value for name, value in options.items() if name in known},
        )
    except Exception as error:  # a foreign file and a foreign package: anything may come
        if missing_files():
            raise PayloadError(
                f"face-alignment could not fetch its weights ({error}). Put {where_files_belong()},"
                " or give landmarks or MediaPipe's face_landmarker.task."
            ) from None
        raise PayloadError(
            f"face-alignment cannot open its weights in {_folder()}: {error}. Remove the damaged"
            " files, so that they are fetched anew."
        ) from None
    found = network.get_landmarks_from_image(image.numpy()) or []
    return [Face.from_points(torch.as_tensor(points)[:, :2]) for points in found]


def missing_files() -> list[str]:
    """Names of the weight files that face-alignment would have to download."""
    folder = _folder()
    return [name for name in _addresses() if not (folder / name).is_file()]


def where_files_belong() -> str:
    """What is missing, in words: `FILE (ADDRESS) and FILE (ADDRESS) into FOLDER`."""
    addresses = _addresses()
    names = " and ".join(f"{name} ({addresses[name]})" for name in missing_files())
    return f"{names} into {_folder()}"


def _folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _addresses() -> dict[str, str]:
    """File name → address, as the installed version of the package has them."""
    from face_alignment import api
    from face_alignment.detection.sfd import sfd_detector

    networks = getattr(api, "default_model_urls", api.models_urls)
    addresses = (sfd_detector.models_urls["s3fd"], networks["3DFAN-4"])
    return {PurePosixPath(address).name: address for address in addresses}
