"""What `make demo-real` reads: packages of Debian, Qt resource files, and packages of weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debian_packages import demo_modules, resource_file, write_package
from mmkit.errors import DataError

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
STAMPS = "usr/share/tuxpaint/stamps"


@pytest.fixture(scope="module")
def demo() -> Iterator[SimpleNamespace]:
    yield from demo_modules()


@needs_dpkg
def test_only_wanted_regular_files_of_a_package_are_read(demo, tmp_path, monkeypatch):
    owl = f"{STAMPS}/animals/birds/owl.png"
    package = write_package(
        tmp_path / "in" / "x_1_all.deb",
        {"../../evil.png": b"evil", "/etc/evil": b"evil", f"./{owl}": b"owl"},
        {f"./{STAMPS}/link.png": "/etc/passwd"},
    )
    wanted = [owl, f"{STAMPS}/link.png", f"{STAMPS}/gone.png"]
    assert demo.debian.read_files(package, wanted) == {owl: b"owl"}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x_1_all.deb"]
    monkeypatch.setattr(demo.debian, "MOST", 2)
    with pytest.raises(DataError, match=r"x_1_all\.deb: .*owl\.png has 3 bytes, more than the 2"):
        demo.debian.read_files(package, wanted)


@needs_dpkg
@pytest.mark.parametrize("content", [b"", b"no package", b"!<arch>\n" + bytes(60)])
def test_a_file_that_is_no_package_is_one_message(demo, tmp_path, content):
    (tmp_path / "x.deb").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.deb: this is no whole Debian package"):
        demo.debian.read_files(tmp_path / "x.deb", ["a"])


def test_packages_are_fetched_by_name(demo, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apt-get"
    program.write_text('#!/bin/sh\n[ "$1" = download ] && echo content > "$2_1.0-1_all.deb"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = demo.debian.download("some-photos", tmp_path)
    assert found == tmp_path / "some-photos_1.0-1_all.deb" and demo.debian.package_of(found) == "some-photos"
    program.write_text(
        '#!/bin/sh\necho "W: a warning" >&2; echo "E: Unable to locate package $2" >&2; exit 100\n'
    )
    with pytest.raises(
        DataError, match=r"apt-get cannot fetch a: E: Unable to locate package a\n.*apt-get update"
    ):
        demo.debian.download("a", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"which this machine does not have\n.*--package"):
        demo.debian.download("a", tmp_path)


paths = st.lists(st.text("abcü", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)


@settings(deadline=None, derandomize=True)
@given(
    files=st.dictionaries(paths, st.binary(max_size=40), min_size=1, max_size=8),
    compressed=st.booleans(),
    version=st.sampled_from([1, 2, 3]),
)
def test_resource_files_are_read_whole(demo, files, compressed, version):
    files = {
        path: content for path, content in files.items() if not any(o.startswith(f"{path}/") for o in files)
    }
    resources = demo.qt_resources.Resources(resource_file(files, compressed, version), "x.rcc")
    assert resources.read([*files, "not there"]) == files


@settings(deadline=None, derandomize=True, max_examples=200)
@given(at=st.integers(0, 400), value=st.binary(min_size=1, max_size=8), compressed=st.booleans())
def test_a_damaged_resource_file_is_one_message(demo, at, value, compressed):
    whole = resource_file({"a/b/one": b"1" * 50, "a/two": b"2" * 50, "three": b"3"}, compressed)
    for damaged in (whole[:at], whole[:at] + value + whole[at + len(value) :]):
        try:
            demo.qt_resources.Resources(damaged, "x.rcc").read(["a/b/one", "a/two", "three"])
        except DataError as error:
            assert str(error).startswith("x.rcc: this Qt resource file cannot be read: ")


def test_a_resource_file_that_grows_without_end_is_refused(demo, monkeypatch):
    monkeypatch.setattr(demo.qt_resources, "MOST", 1000)
    resources = demo.qt_resources.Resources(resource_file({"big": bytes(5000)}, compressed=True), "x.rcc")
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        resources.read(["big"])


def test_networks_that_are_not_installed_are_named(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(demo.networks, "MINILM", ("a-package", "no_such_module_of_the_demo", "model"))
    with pytest.raises(DataError, match=r"the package a-package is not installed\n.*the extra `demo`"):
        demo.networks.write_text_encoder(tmp_path / "minilm")


@pytest.mark.slow
def test_weights_under_other_names_become_a_network_of_timm(demo, tmp_path, monkeypatch):
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    stored = {
        f"other.{i}.{name.rpartition('.')[2]}": tensor
        for i, (name, tensor) in enumerate(network.state_dict().items())
    }
    (tmp_path / "some_weights" / "models").mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").write_text("raise SystemExit('this code must not run')")
    torch.save(stored, tmp_path / "some_weights" / "models" / "x.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(demo.networks, "LITE0", ("some-weights", "some_weights", "models"))
    demo.networks.write_image_encoder(tmp_path / "lite0")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'lite0'}", pretrained=True, num_classes=0).eval()
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network.reset_classifier(0)
        torch.testing.assert_close(loaded(pixels), network(pixels))
    stored.pop(next(iter(stored)))
    torch.save(stored, tmp_path / "some_weights" / "models" / "x.pth")
    with pytest.raises(DataError, match=r"x\.pth: the weights are not those of timm's tf_efficientnet_lite0"):
        demo.networks.write_image_encoder(tmp_path / "other")
