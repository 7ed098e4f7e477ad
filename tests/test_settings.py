import pytest

from engine.settings import DEFAULTS, SettingsError, from_environment


def test_what_is_not_set_keeps_its_default() -> None:
    assert from_environment({}) == DEFAULTS


def test_settings_come_from_the_environment() -> None:
    settings = from_environment(
        {"WEAVE_PORT": "9000", "WEAVE_POLICIES": "/etc/weave", "WEAVE_STALL_TIMEOUT": "1.5"}
    )
    assert settings.port == 9000
    assert str(settings.policies) == "/etc/weave"
    assert settings.stall_seconds == 1.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEAVE_PORT", "http"),
        ("WEAVE_PORT", "-1"),
        ("WEAVE_MAX_BODY_BYTES", "20MB"),
        ("WEAVE_STALL_TIMEOUT", "soon"),
        ("WEAVE_STALL_TIMEOUT", "0"),
        ("WEAVE_STALL_TIMEOUT", "nan"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_with_what_it_takes(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}'; it takes"):
        from_environment({name: value})
