"""notify.toml: what it may say, and that a mistake is told by field, value and rule."""

from pathlib import Path

import pytest

from notifiers.config import Config, ConfigError, Email, Webhook, load_config, read_secret

WHOLE = """
link = "https://dashboards.example/usage"

[channel.mail]
kind = "email"
host = "smtp.example.com"
user = "tollbook"
password_file = "secrets/smtp"
sender = "tollbook@example.com"
to = ["ops@example.com", "finance@example.com"]

[channel.hook]
kind = "webhook"
url = "https://hooks.example.com/tollbook"
secret_files = ["secrets/new", "secrets/old"]

[[route]]
channels = ["mail", "hook"]
min_severity = "warning"
quiet = "22:00-07:00"
digest_minutes = 60
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "notify.toml"
    path.write_text(text)
    return path


def test_files_of_secrets_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))
    mail, hook = config.channel["mail"], config.channel["hook"]
    assert isinstance(mail, Email)
    assert isinstance(hook, Webhook)
    assert mail.password_file == tmp_path / "secrets/smtp"
    assert hook.secret_files == (tmp_path / "secrets/new", tmp_path / "secrets/old")


def test_without_a_file_nothing_is_configured(tmp_path: Path) -> None:
    assert load_config(tmp_path / "notify.toml") == Config()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"smtp.example.com"', "25", "channel.mail.email.host = 25: Input should be a valid string"),
        ('kind = "webhook"', 'kind = "pager"', "'pager'"),
        ('["mail", "hook"]', '["mail", "hok"]', "route.0.channels = 'hok': no [channel.hok] in the file"),
        ('"22:00-07:00"', '"22-7"', "route.0.quiet = '22-7': must be HH:MM-HH:MM, as 22:00-07:00"),
        ('"22:00-07:00"', '"07:00-07:00"', "route.0.quiet = '07:00-07:00': begins when it ends"),
        ("digest_minutes = 60", "digest_minute = 60", "route.0.digest_minute = 60: Extra inputs are not permitted"),
        ("digest_minutes = 60", "digest_minutes = 1441", "route.0.digest_minutes = 1441"),
        ('"warning"', '"loud"', "route.0.min_severity = 'loud'"),
        ('"https://hooks', '"http://hooks', "plain http only with allow_private = true"),
        ('"https://hooks', '"https://me:secret@hooks', "must be https://HOST/… without a user"),
        ('password_file = "secrets/smtp"\n', "", "user and password_file: both or neither"),
        ('user = "tollbook"', 'user = "tollbook"\nsecurity = "none"', "a password needs starttls or tls"),
        ('"ops@example.com"', '"ops"', "channel.mail.email.to.0 = 'ops'"),
        ("[channel.mail]", "[channel.mail", "notify.toml: "),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    path = written(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(ConfigError) as told:
        load_config(path)
    assert message in str(told.value)
    assert str(path) in str(told.value)


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" \n")
    with pytest.raises(ValueError, match="is empty"):
        read_secret(tmp_path / "key")
