"""Which files of a repository a vLLM server reads.

vLLM takes ``*.safetensors``, else ``*.bin``, else ``*.pt`` of the repository's own folder, and
every configuration, tokenizer and template file. Everything not known to be useless is kept: those
files are small. That includes ``*.py``, which is fetched and never run by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cli.hub_api import RepositoryFile
from cli.model_fetch import FetchError

_OTHER_RUNTIMES = frozenset(
    "original onnx openvino metal coreml tflite mlx flax runs logs .git .cache".split()
)
_NEVER = frozenset(
    """
    .gguf .ggml .onnx .onnx_data .h5 .msgpack .ot .tflite .mlmodel .ckpt .nemo .tar .gz .zip .7z
    .png .jpg .jpeg .gif .webp .svg .mp4 .mov .webm .wav .mp3 .flac .pdf .ipynb .csv .parquet
    """.split()
)
_OF_TRAINING = frozenset(
    "training_args.bin optimizer.bin optimizer.pt scheduler.pt scheduler.bin rng_state.pth".split()
)
_PREFERENCE = ((".safetensors",), (".bin",), (".pt", ".pth"))


@dataclass(frozen=True, slots=True)
class Selection:
    files: tuple[RepositoryFile, ...]
    left_out: tuple[RepositoryFile, ...]
    has_code: bool

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def select(files: Sequence[RepositoryFile], repository: str) -> Selection:
    """One format of weights, and all that belongs to it.

    Raises:
        FetchError: vLLM would find no weights among them.
    """
    useful = [file for file in files if not _is_useless(PurePosixPath(file.path))]
    format_ = next((kind for kind in _PREFERENCE if _has_weights(useful, kind)), None)
    if format_ is None:
        raise FetchError(_no_weights(files, repository))
    others = {suffix for kind in _PREFERENCE if kind != format_ for suffix in kind}
    kept = tuple(file for file in useful if PurePosixPath(file.path).suffix not in others)
    names = {file.path for file in kept}
    left = tuple(file for file in files if file.path not in names)
    return Selection(kept, left, any(file.path.endswith(".py") for file in kept))


def _is_useless(path: PurePosixPath) -> bool:
    return (
        bool(_OTHER_RUNTIMES & set(path.parts[:-1]))
        or path.suffix.lower() in _NEVER
        or path.name in _OF_TRAINING
        or path.name == ".gitattributes"
    )


def _has_weights(files: Sequence[RepositoryFile], suffixes: Sequence[str]) -> bool:
    paths = (PurePosixPath(file.path) for file in files)
    return any(len(path.parts) == 1 and path.suffix in suffixes for path in paths)


def _no_weights(files: Sequence[RepositoryFile], repository: str) -> str:
    if any(file.path.lower().endswith(".gguf") for file in files):
        return (
            f"{repository} holds GGUF files only, which are llama.cpp's:"
            f" python -m cli.models pull --provider llamacpp {repository} FILE.gguf"
        )
    return f"{repository} holds no weights that vLLM reads (*.safetensors, *.bin or *.pt)."
