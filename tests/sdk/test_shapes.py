from typing import Annotated

import pytest
from pydantic import SecretStr, ValidationError

from app.sdk.fields import Settings, Text, is_secret, setting
from app.sdk.shapes import AnyJson, Object, Objects, WebAddress, Zone, shaped


class Form(Settings):
    key: Annotated[Text, shaped("wk_[a-z]+", "must begin with wk_")] = "wk_a"
    token: Annotated[SecretStr, shaped("wk_[a-z]+", "must begin with wk_")] = SecretStr("wk_a")
    link: WebAddress = ""
    zone: Zone = "UTC"
    blocks: Objects = setting("Blocks", [])
    card: Object = None
    body: AnyJson = None


def test_the_space_around_a_value_is_left_out():
    form = Form(key=" wk_b ", token=" wk_c\n")

    assert (form.key, form.token.get_secret_value()) == ("wk_b", "wk_c")


def test_a_secret_of_a_form_is_a_secret():
    assert is_secret(Form.model_fields["token"])


@pytest.mark.parametrize("given", ["", "wk_", "wk_b wk_c", "xwk_b", "wk_b\nwk_c"])
@pytest.mark.parametrize("name", ["key", "token"])
def test_what_has_another_form_is_refused_in_words_and_not_repeated(name, given):
    with pytest.raises(ValidationError, match="must begin with wk_") as refused:
        Form(**{name: given})

    assert "wk_b" not in str(refused.value)


@pytest.mark.parametrize("link", ["", "https://shop.example/A-1001", "http://localhost:8000"])
def test_a_web_address_is_one_or_none(link):
    assert Form(link=link).link == link


@pytest.mark.parametrize(
    "link", ["shop.example", "javascript:alert(1)", "https://", "https://a b", 'https://a"onclick="']
)
def test_what_is_no_web_address_is_refused(link):
    with pytest.raises(ValidationError, match="must begin with https://"):
        Form(link=link)


def test_an_unknown_zone_is_refused():
    with pytest.raises(ValidationError, match="not a time zone"):
        Form(zone="Europe/Nowhere")


def test_a_lone_list_of_an_earlier_step_is_the_list():
    assert Form(blocks=[[{"type": "divider"}]]).blocks == [{"type": "divider"}]


@pytest.mark.parametrize("empty", ["", {}, None])
def test_an_empty_field_is_no_object(empty):
    assert Form(card=empty).card is None


def test_an_empty_field_is_no_json_but_zero_is():
    assert (Form(body="").body, Form(body=0).body, Form(body=[]).body) == (None, 0, [])
