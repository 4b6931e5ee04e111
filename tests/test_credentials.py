import pytest

from pyramid_pluggable_session.credentials import hide_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://app:hunter2@host/1", "redis://(hidden)host/1"),
        ("redis://:hunter2@host and redis://host", "redis://(hidden)host and redis://host"),
        ("db://app:hunt/er@2@host", "db://(hidden)host"),
        ("app:hunter2@host", "app:(hidden)host"),
        ("db://host/?password=hunter2&a=b", "db://host/?password=(hidden)&a=b"),
        ("db://host/?tlsFilePassword=hunter2", "db://host/?tlsFilePassword=(hidden)"),
        ("AWS_SESSION_TOKEN:hunter2 x", "AWS_SESSION_TOKEN:(hidden) x"),
        ("nothing to hide", "nothing to hide"),
        ("db://host:5432/path?a=b", "db://host:5432/path?a=b"),
    ],
)
def test_hide_credentials(text, shown):
    assert hide_credentials(text) == shown
