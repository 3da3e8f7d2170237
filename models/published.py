"""Every published weight file, row by row: name, size, sha256, licence, source, folder.

Facts only. Sizes and hashes are those that the hosts state; where they are not known the row says
so. `catalogue.py` looks files up here. The first row of a name without its suffix is the one to
get, later ones hold the same weights in another container.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HUB = "https://huggingface.co"
NO_LICENCE = "none stated (all rights reserved)"
KDTALKER_LICENCE = "CC-BY-NC-4.0"  # its README's; the model card says MIT, and the stricter holds


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One published file."""

    file: str
    folder: str  # below the host's models directory
    title: str
    systems: tuple[str, ...]  # what needs it
    formats: tuple[str, ...] = ()  # names in `formats.FORMATS` that it loads as
    size: int | None = None  # bytes
    approximate_size: int | None = None  # bytes, where only that is known
    sha256: str = ""
    licence: str
    commercial: bool  # may it be used commercially
    repository: str = ""  # on Hugging Face, with revision and path …
    revision: str = "main"
    path: str = ""
    link: str = ""  # … or a link of its own
    by_hand: bool = False  # the link is a page for people, not a file
    note: str = ""  # a sentence that whoever looks for the file should know

    @property
    def name(self) -> str:
        """Folder and file, which no other row has."""
        return f"{self.folder}/{self.file}"

    @property
    def role(self) -> str:
        """The same for all files that can stand in for each other."""
        return self.name.rsplit(".", 1)[0]

    @property
    def url(self) -> str:
        """Where to get it."""
        return self.link or f"{HUB}/{self.repository}/resolve/{self.revision}/{self.path}"

    @property
    def size_text(self) -> str:
        """The size for people, in decimal units."""
        size = self.size or self.approximate_size
        if size is None:
            return "unknown"
        scale, unit = (10**9, "GB") if size >= 10**9 else (10**6, "MB")
        digits = 0 if size >= 10 * scale else 1
        return f"{'' if self.size else '≈ '}{size / scale:.{digits}f} {unit}"

    @property
    def licence_text(self) -> str:
        """The licence, marked where commercial use is not allowed."""
        return self.licence if self.commercial else f"{self.licence}, non-commercial"

    @property
    def workflow_link(self) -> dict[str, str]:
        """What a workflow's `properties.models` carries, so that the host can offer the file."""
        return {"name": self.file, "url": self.url, "directory": self.folder}

    def find(self, roots: Iterable[str | Path]) -> Path | None:
        """The file below one of `roots`: in its folder, as published, or directly in the root."""
        parent = Path(self.path).parent.name
        places = [self.name, f"{self.folder}/{parent}/{self.file}", self.path or self.name]
        places += [str(Path(parent, self.file)), self.file]
        candidates = (Path(root) / place for root in roots for place in places)
        return next((path for path in candidates if path.is_file()), None)


def _liveportrait(
    stem: str, title: str, safetensors: tuple[int, str], published: tuple[int, str], **more: object
) -> tuple[Weight, Weight]:
    """One network of LivePortrait: the safetensors that ComfyUI users have, and the original."""
    folder = "retargeting_models" if stem.startswith("stitching") else "base_models"
    shared: dict = {"folder": "liveportrait", "title": title, "licence": "MIT", "commercial": True}
    shared |= {"systems": ("liveportrait",), **more}
    return (
        Weight(
            file=f"{stem}.safetensors",
            size=safetensors[0],
            sha256=safetensors[1],
            repository="Kijai/LivePortrait_safetensors",
            revision="59f30f36d7b791929c25437df7461d5b0e0010b1",
            path=f"{stem}.safetensors",
            **shared,
        ),
        Weight(
            file=f"{stem}.pth",
            size=published[0],
            sha256=published[1],
            repository="KlingTeam/LivePortrait",  # called KwaiVGI/LivePortrait before
            revision="82a4fa6735ca58432b6ce39301b4b9ee066dea47",
            path=f"liveportrait/{folder}/{stem}.pth",
            **shared,
        ),
    )


def _drive(file: str, identifier: str, **facts: object) -> Weight:
    """A file on Google Drive, which only a browser gets reliably."""
    link = f"https://drive.google.com/{identifier}"
    unknown: dict = {"licence": NO_LICENCE, "commercial": False, "by_hand": True, **facts}
    return Weight(file=file, link=link, **unknown)


# What is called by one name and works as several systems, in the order of its stages.
PIPELINES = {"moditalker": ("hubert", "moditalker", "deep3drecon", "mtov")}

CATALOGUE: tuple[Weight, ...] = (
    *_liveportrait(
        "appearance_feature_extractor",
        "LivePortrait, appearance of the portrait",
        (3_361_936, "38bef5de50a92bf1fc66e8c511051a19dfacdf80c37f8713425ec15dc9ca7d34"),
        (3_387_959, "5279bb8654293dbdf327030b397f107237dd9212fb11dd75b83dfb635211ceb5"),
        formats=("liveportrait/appearance",),
    ),
    *_liveportrait(
        "motion_extractor",
        "LivePortrait, keypoints and pose of the portrait",
        (112_496_256, "3568cd410e29d046771acb55ecfdfe4c7c197d345bd8b7f95942ef63130b6c9e"),
        (112_545_506, "251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5"),
        systems=("liveportrait", "kdtalker"),
        formats=("liveportrait/motion",),
    ),
    *_liveportrait(
        "warping_module",
        "LivePortrait, warping by keypoints",
        (182_158_564, "f7b7834bd6039b4088f72e5161e60ad366f68a3763df8a3eac0bc0f9d46fdbbf"),
        (182_180_086, "2f61a6f265fe344f14132364859a78bdbbc2068577170693da57fb96d636e282"),
        formats=("liveportrait/warping",),
    ),
    *_liveportrait(
        "spade_generator",
        "LivePortrait, generator of the picture",
        (221_771_768, "ca04fbec765745e9eae836d2d7522c274647b277ce5f25104fa1705b75222212"),
        (221_813_590, "4780afc7909a9f84e24c01d73b31a555ef651521a1fe3b2429bd04534d992aee"),
        formats=("liveportrait/generator",),
    ),
    *_liveportrait(
        "stitching_retargeting_module",
        "LivePortrait, stitching and retargeting of eyes and lips",
        (911_836, "60725cf3523ae413880da28ed583c9e84c5c25695a0cef1b77210ea31cc424ea"),
        (2_393_098, "3652d5a3f95099141a56986aaddec92fadf0a73c87a20fac9a2c07c32b28b611"),
        formats=(
            "liveportrait/stitching",
            "liveportrait/retarget_lip",
            "liveportrait/retarget_eye",
        ),
    ),
    Weight(
        file="KDTalker.pth",
        folder="kdtalker",
        title="KDTalker, speech to motion",
        systems=("kdtalker",),
        formats=("kdtalker",),
        licence=KDTALKER_LICENCE,
        commercial=False,
        repository="ChaolongYang/KDTalker",
        path="ckpts/KDTalker.pth",
    ),
    Weight(
        file="wav2lip.pth",
        folder="kdtalker",
        title="Wav2Lip, of which KDTalker uses the audio half",
        systems=("kdtalker", "wav2lip"),
        formats=("wav2lip_audio",),
        approximate_size=436_000_000,
        licence="research only, trained on LRS2",
        commercial=False,
        repository="ChaolongYang/KDTalker",
        path="ckpts/wav2lip.pth",
    ),
    Weight(
        file="face_landmarker.task",
        folder="soliloquy",
        title="MediaPipe Face Landmarker, finds faces (optional)",
        systems=("mediapipe",),
        size=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0",
        commercial=True,
        link="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker"
        "/float16/1/face_landmarker.task",
    ),
    Weight(
        file="pytorch_model.bin",
        folder="audio_encoders/hubert-large-ls960-ft",
        title="HuBERT large, of which MoDiTalker uses the last layer",
        systems=("hubert",),
        formats=("wav2vec2",),
        approximate_size=1_262_000_000,
        licence="Apache-2.0",
        commercial=True,
        repository="facebook/hubert-large-ls960-ft",
        path="pytorch_model.bin",
    ),
    Weight(
        file="epoch_20.pth",
        folder="moditalker",
        title="Deep3DFaceRecon, coefficients of the Basel face model (optional)",
        systems=("deep3drecon",),
        formats=("deep3drecon",),
        licence="research only",
        commercial=False,
        link="https://github.com/sicxu/Deep3DFaceRecon_pytorch",
        by_hand=True,
    ),
    _drive(
        "atom.pt",
        "file/d/1nxKqaScFIGuNoK5Y5Jq4zeWxJ55sUw_E",
        folder="moditalker",
        title="MoDiTalker AToM, speech to landmarks",
        systems=("moditalker",),
        formats=("moditalker/atom",),
        approximate_size=1_600_000_000,
    ),
    _drive(
        "autoencoder_motion.pth",
        "file/d/1b9s5TbCaj5hz-luw7abgLYOF2Ph3jKrv",
        folder="moditalker",
        title="MoDiTalker MToV, autoencoder of motion",
        systems=("mtov",),
        formats=("moditalker/autoencoder",),
        approximate_size=248_000_000,
    ),
    _drive(
        "autoencoder_rgb.pth",
        "file/d/1KQ7XKl5HLP79Ri7A33VHfn7Tvnwz3v9o",
        folder="moditalker",
        title="MoDiTalker MToV, autoencoder of video",
        systems=("mtov",),
        formats=("moditalker/autoencoder",),
        approximate_size=248_000_000,
    ),
    _drive(
        "diffusion_model.pth",
        "file/d/1RGY1WNpwbbqtH1ihKmYZruI2T4UPauQk",
        folder="moditalker",
        title="MoDiTalker MToV, video diffusion (its authors withdrew the link)",
        systems=("mtov",),
        formats=("moditalker/unet",),
        approximate_size=831_000_000,
        note="Its authors withdrew this file in April 2024 and the link is dead: who has no copy"
        " can train one with `python -m soliloquy train mtov_unet`.",
    ),
    _drive(
        "weight.ckpt",
        "drive/folders/1_6UB-2hD4XVMzZhauBT7YGG2t9FGgFho",
        folder="atldiff",
        title="ATL-Diff KFLM, speech to landmarks (au2lm/CREMA/checkpoints)",
        systems=("atldiff", "kflm"),
        formats=("atl_diff/kflm", "wav2vec2"),
        approximate_size=460_000_000,
    ),
    *(
        _drive(
            file,
            "drive/folders/1_6UB-2hD4XVMzZhauBT7YGG2t9FGgFho",
            folder=f"atldiff/{part}",
            title=f"ATL-Diff, landmark-guided image diffusion (lm2face/CREMA/{part}){what}",
            systems=("atldiff", "atl_diff_published"),
            formats=formats,
        )
        for part, file, what, formats in (
            ("unet", "diffusion_pytorch_model.safetensors", "", ("atl_diff/unet3d",)),
            ("unet", "config.json", ", its sizes", ()),
            ("scheduler", "scheduler_config.json", ", its noise", ()),
        )
    ),
    Weight(
        file="resnet50-0676ba61.pth",
        folder="atldiff",
        title="torchvision ResNet-50, what ATL-Diff sees of a portrait",
        systems=("atldiff", "atl_diff_published"),
        formats=("resnet50",),
        approximate_size=102_500_000,
        licence="BSD-3-Clause",
        commercial=True,
        link="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    ),
)
