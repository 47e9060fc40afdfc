"""A tiny random vision-language model on this machine: its answers depend on pictures, and on nothing of strangers."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image as Pillow

from mmkit.data import image_files
from mmkit.errors import ImageError
from mmkit_chat.local_vision import LocalVisionModel, opened
from mmkit_chat.messages import Chat, Message
from mmkit_chat.model import ChatModel
from mmkit_chat.stand_ins import save_vision_lm
from own_code import check_refused
from raising import raises

TEXTS = ["Jordan scored in the match", "Amazon opened a shop in Paris"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vlm") / "model"
    save_vision_lm(folder, 1, TEXTS)
    return str(folder)


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def picture(colour: str, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> str:
    file = io.BytesIO()
    Pillow.new(mode, size, colour).save(file, "PNG")
    return uri(file.getvalue())


def chat(text: str, *pictures: str) -> Chat:
    shown = Message("user", "Who is Amazon?", pictures[:1]), Message("assistant", "A shop.")
    return Chat((*shown, Message("user", text, pictures)))


def test_answers_depend_on_text_and_picture(model: str) -> None:
    asked = ChatModel(model, "local", pictures=True, max_tokens=8)
    asked.prepare()
    red, blue, none = picture("red"), picture("blue"), ()
    prompts = [chat("Who is Jordan?", red), chat("Who is Jordan?", blue), chat("Who is Jordan?", *none)]
    answers = asked.ask([*prompts, chat("Where is Paris?", red), prompts[0]])
    assert answers[0] == answers[4]
    assert len({answer.text for answer in answers[:4]}) > 2  # type: ignore[union-attr]
    assert [answer.answer_tokens for answer in answers] == [8] * 5  # type: ignore[union-attr]
    assert answers[0].prompt_tokens > answers[2].prompt_tokens  # type: ignore[union-attr,operator]


def test_a_picture_is_what_its_data_uri_holds() -> None:
    shown = opened(picture("red"))
    assert shown.size == (40, 30) and shown.mode == "RGB" and shown.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (picture("white", (8001, 8000), "1"), "more than 64 megapixels"),
        (picture("red", (1002, 2)), "too long and thin"),
        (uri(b"%PDF-1.7"), "a PDF document"),
        (uri(b""), "empty"),
        (picture("red")[:-40], "broken"),
        ("data:image/png;base64,###", "not in base64"),
        ("https://example.org/photo.png", "not a data URI"),
        ("/etc/passwd", "not a data URI"),
        ("data:image/png,abc", "not a data URI"),
    ],
)
def test_what_is_no_picture_or_too_large_is_one_message(given: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        opened(given)
    assert "a picture of a prompt" in str(caught.value)


def test_too_many_bytes_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_BYTES", 2_000_000)
    assert opened(picture("red")).size == (40, 30)
    monkeypatch.setattr(base64, "b64decode", None)
    with pytest.raises(ImageError, match="more than 2 MB"):
        opened(f"data:image/png;base64,{'A' * 2_700_000}")


def test_a_model_without_a_template_is_refused(model: str, tmp_path: Path) -> None:
    for file in Path(model).iterdir():
        if "template" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with raises("chat.no-template"):
        LocalVisionModel(str(tmp_path))


def test_a_template_that_fails_or_does_not_show_the_pictures_is_one_message(model: str) -> None:
    machine = LocalVisionModel(model)
    for template, says in (
        ("{{ raise_exception('no') }}", "TemplateError: no"),
        ("{{ messages[0].role }}", "that the model's own processor cannot read"),
    ):
        machine.processor.chat_template = template
        with raises("chat.template", match=says):
            machine.ask([chat("Jordan", picture("red"))], 5)


def test_no_code_of_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_refused(LocalVisionModel, tmp_path, monkeypatch)
