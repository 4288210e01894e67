"""Files made to harm whoever imports them. Each gets a refusal that says why."""

import struct
import zipfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from core_model.cli import app
from core_model.pretrained import ImportRefusedError, import_mae
from tests.core_model import official


@pytest.fixture(scope="module")
def state():
    return official.detector(depth=1).state_dict()


def import_twelve(path, **more):
    return import_mae(path, action_units=(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), **more)


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def rewrite(path, change):
    """Write the zip again with other entries, as ``change`` of (name, bytes) pairs makes them."""
    with zipfile.ZipFile(path) as archive:
        entries = [(n, archive.read(n)) for n in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in change(entries):
            archive.writestr(name, data)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickle_that_runs_code(protocol, tmp_path, state) -> None:
    touched = tmp_path / "touched"
    path = tmp_path / "evil.pth"
    torch.save({"model": state, "args": Payload(touched)}, path, pickle_protocol=protocol)
    with pytest.raises(ImportRefusedError, match="Nothing was run"):
        import_twelve(path)
    assert not touched.exists()
    torch.load(path, weights_only=False)  # noqa: TID251 - what the payload would have done
    assert touched.exists()


def test_plain_pickle(tmp_path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(f"cposix\nsystem\n(S'touch {tmp_path / 'touched'}'\ntR.".encode())
    with pytest.raises(ImportRefusedError, match="not a file of torch"):
        import_twelve(path)
    assert not (tmp_path / "touched").exists()


def test_old_tar_or_legacy_format(tmp_path, state) -> None:
    torch.save({"model": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(ImportRefusedError, match="not a file of torch"):
        import_twelve(tmp_path / "old.pth")


def test_harmless_builtin_that_takes_all_memory(tmp_path) -> None:
    """PyTorch's safe unpickler lets bytearray(2 ** 45) pass; we do not."""

    class Bomb:
        def __reduce__(self):
            return bytearray, (2**45,)

    torch.save({"model": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ImportRefusedError, match="bytearray"):
        import_twelve(tmp_path / "bomb.pth")


def test_zip_bomb(tmp_path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(ImportRefusedError, match="compressed inside"):
        import_twelve(path)


def test_two_pickles_of_one_name(tmp_path, state) -> None:
    """Two readers of one zip may see two different files."""
    path = official.save(tmp_path / "two.pth", state)
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewrite(path, lambda entries: [*entries, entries[0]])
    with pytest.raises(ImportRefusedError, match="not a zip as"):
        import_twelve(path)


def test_view_that_claims_more_than_the_file_holds(tmp_path, state) -> None:
    swollen = torch.zeros(1).expand(384, 10**9)  # 1.5 TB for the one who copies it
    with pytest.raises(ImportRefusedError, match="more values than the file holds"):
        import_twelve(official.save(tmp_path / "x.pth", state | {"fc_norm.weight": swollen}))


def test_storage_shorter_than_its_tensor(tmp_path, state) -> None:
    path = official.save(tmp_path / "x.pth", state)
    cut = lambda es: [(n, d[:10] if n.endswith("/data/3") else d) for n, d in es]  # noqa: E731
    rewrite(path, cut)
    with pytest.raises(ImportRefusedError, match="cannot read it safely"):
        import_twelve(path)


def test_bytes_that_rotted(tmp_path, state) -> None:
    path = official.save(tmp_path / "x.pth", state)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImportRefusedError, match="is damaged"):
        import_twelve(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated(share, tmp_path, state) -> None:
    path = official.save(tmp_path / "x.pth", state)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ImportRefusedError, match="truncated"):
        import_twelve(path)


def test_too_large(tmp_path, state) -> None:
    path = official.save(tmp_path / "x.pth", state)
    with pytest.raises(ImportRefusedError, match="at most 1,000"):
        import_twelve(path, max_bytes=1000)


CHANGES = {
    "not finite": ({"head.bias": torch.full((12,), float("nan"))}, "not finite"),
    "infinite": ({"cls_token": torch.full((1, 1, 384), float("inf"))}, "not finite"),
    "another shape": ({"fc_norm.weight": torch.ones(383)}, r"expected shape \(384,\)"),
    "rows without meaning": ({"head.weight": torch.ones(5, 384)}, "has 5 rows"),
    "half precision": ({"cls_token": torch.ones(1, 1, 384).half()}, "expected float32"),
    "positions not square": ({"pos_embed": torch.ones(1, 198, 384)}, "square number"),
    "no positions": ({"pos_embed": torch.ones(1, 0, 384)}, "expected 3 axes"),
    "unusual width": ({"patch_embed.proj.weight": torch.ones(100, 3, 16, 16)}, "--heads"),
    "weight from elsewhere": ({"extra.weight": torch.ones(2)}, "unknown"),
    "identity under another name": ({"face_head.weight": torch.ones(41, 384)}, "unknown"),
    "text": ({"note": "hello"}, "only named weights"),
    "scalar head": ({"head.weight": torch.tensor(1.0)}, "has 0 rows"),
    "blocks with a gap": ({"blocks.7.norm1.weight": torch.ones(384)}, "numbered from 0"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_wrong_content(change, message, tmp_path, state) -> None:
    path = official.save(tmp_path / "x.pth", state | change)
    with pytest.raises(ImportRefusedError, match=message):
        import_twelve(path)


@pytest.mark.parametrize("missing", ["pos_embed", "fc_norm.bias", "blocks.0.mlp.fc1.weight"])
def test_missing_weight(missing, tmp_path, state) -> None:
    rest = {n: t for n, t in state.items() if n != missing}
    with pytest.raises(ImportRefusedError, match=r"missing|numbered"):
        import_twelve(official.save(tmp_path / "x.pth", rest))


@pytest.mark.parametrize("content", [{}, [1, 2], {"model": {}}, {"model": [1]}, {"a": 1}, None])
def test_no_weights(content, tmp_path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ImportRefusedError, match="expected"):
        import_twelve(tmp_path / "x.pth")


def test_command_refuses_in_one_sentence(tmp_path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(struct.pack("<Q", 0) + b"junk")
    result = CliRunner().invoke(app, ["import", str(path), str(tmp_path / "out.safetensors")])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert not (tmp_path / "out.safetensors").exists()
    missing = CliRunner().invoke(app, ["import", str(tmp_path / "no.pth"), str(tmp_path / "o")])
    assert "cannot be read" in missing.output
