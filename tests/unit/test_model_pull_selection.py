from __future__ import annotations

import pytest

from cli.hub_api import RepositoryFile
from cli.hub_selection import select
from cli.model_fetch import Checksum, FetchError


def of(*paths: str) -> list[RepositoryFile]:
    return [RepositoryFile(path, 1, Checksum("git", "0" * 40)) for path in paths]


def names(*paths: str) -> set[str]:
    return {file.path for file in select(of(*paths), "org/model").files}


def test_older_formats_are_taken_where_there_is_nothing_newer() -> None:
    assert names("config.json", "pytorch_model.bin", "training_args.bin", "rust_model.ot") == {
        "config.json",
        "pytorch_model.bin",
    }
    assert names("config.json", "model.pt", "onnx/model.safetensors") == {"config.json", "model.pt"}


def test_a_dense_module_keeps_its_weights_in_its_folder() -> None:
    files = ("model.safetensors", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin")

    assert names(*files) == {"model.safetensors", "2_Dense/model.safetensors"}


def test_a_repository_of_gguf_files_is_shown_the_way_to_llama_cpp() -> None:
    with pytest.raises(FetchError, match="--provider llamacpp org/model"):
        select(of("config.json", "model-q4_k_m.gguf"), "org/model")


def test_a_repository_without_weights_is_refused() -> None:
    with pytest.raises(FetchError, match="no weights that vLLM reads"):
        select(of("README.md", "config.json"), "org/model")
