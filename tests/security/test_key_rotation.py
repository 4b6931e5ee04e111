"""Several secrets: the first seals, all unseal, and changing them logs nobody out."""

from __future__ import annotations

import pytest
from attacks import forged_record, plant_record, put, stolen_record, visitor

from apps import App, set_cookies
from pyramid_pluggable_session.testing import FakeClock

OLD, NEW, NEWER = "old-secret-" * 5, "new-secret-" * 5, "newer-secret-" * 4


@pytest.fixture(autouse=True)
def clock():
    with FakeClock() as fake:
        yield fake


@pytest.fixture(params=["false", "true"], ids=["signed", "encrypted"])
def with_secrets(request):
    """Return a function from secrets to an application, all of them on one storage."""
    first = App(secret=OLD, encrypt=request.param)

    def with_secrets(*secrets):
        return App(plug=first.plug, secret="\n".join(secrets), encrypt=request.param)

    return with_secrets


def at(app, client):
    """Return the same browser at another application."""
    return app.client(cookie=client.cookie)


class TestDuringTheRotation:
    @pytest.fixture
    def client(self, with_secrets):
        return visitor(with_secrets(OLD), who="alice")

    @pytest.fixture
    def both(self, with_secrets):
        return with_secrets(NEW, OLD)

    def test_old_sessions_stay(self, client, both):
        assert at(both, client).data() == {"who": "alice"}

    def test_reading_changes_nothing(self, client, both):
        before = stolen_record(both, client.session_id)
        assert set_cookies(at(both, client).do(dict)) == []
        assert stolen_record(both, client.session_id) == before

    def test_the_next_save_signs_the_cookie_with_the_first_secret(self, client, both, with_secrets):
        again = at(both, client)
        again.do(put(a=1))
        assert again.session_id == client.session_id
        assert again.cookie != client.cookie
        assert at(with_secrets(NEW), again).data() == {"who": "alice", "a": 1}

    def test_the_next_save_signs_the_cookie_even_if_it_ends_with_the_browser(self, client, both):
        app = App(plug=both.plug, secret=f"{NEW}\n{OLD}", max_age="none")
        again = at(app, client)
        again.do(put(a=1))
        assert again.cookie != client.cookie

    def test_a_renewal_is_a_save(self, client, both, with_secrets, clock):
        again = at(both, client)
        clock.advance(600)
        again.data()
        assert at(with_secrets(NEW), again).data() == {"who": "alice"}

    def test_new_sessions_use_the_first_secret_alone(self, both, with_secrets):
        client = visitor(both, who="bob")
        assert at(with_secrets(NEW), client).data() == {"who": "bob"}
        assert at(with_secrets(OLD), client).data() == {}

    def test_processes_with_the_old_configuration_read_what_they_wrote(self, client, with_secrets):
        """The first step of a rollout: both know both secrets, the old one still seals."""
        first_step, second_step = with_secrets(OLD, NEW), with_secrets(NEW, OLD)
        again = at(second_step, client)
        again.do(put(a=1))
        assert at(first_step, again).data() == {"who": "alice", "a": 1}

    def test_two_requests_at_once_with_different_secrets_are_merged(self, client, both):
        again = at(both, client)
        client.do(lambda session: (session.update(a=1), again.do(put(b=2))))
        # What the old process found was sealed with a secret that it does not know.
        assert at(both, again).data().items() >= {"who": "alice", "b": 2}.items()

    def test_three_secrets_work_as_well(self, client, with_secrets):
        app = with_secrets(NEWER, NEW, OLD)
        assert at(app, client).data() == {"who": "alice"}

    def test_the_same_secret_twice_is_one(self, client, with_secrets):
        assert at(with_secrets(OLD, OLD), client).data() == {"who": "alice"}


class TestAfterTheOldSecretIsDropped:
    def test_what_was_saved_meanwhile_stays(self, with_secrets):
        client = visitor(with_secrets(OLD), who="alice")
        again = at(with_secrets(NEW, OLD), client)
        again.do(put(a=1))
        assert at(with_secrets(NEW), again).data() == {"who": "alice", "a": 1}

    def test_the_others_are_new_sessions(self, with_secrets):
        client = visitor(with_secrets(OLD), who="alice")
        new = with_secrets(NEW)
        again = at(new, client)
        assert again.do(lambda session: (dict(session), session.new)).result == ({}, True)
        assert new.event_names() == ["SessionRejected:cookie: not signed by us"]

    def test_a_cookie_of_before_is_not_accepted_even_if_its_record_was_saved(self, with_secrets):
        client = visitor(with_secrets(OLD), who="alice")
        at(with_secrets(NEW, OLD), client).do(put(a=1))
        assert at(with_secrets(NEW), client).data() == {}

    def test_a_record_that_somebody_with_the_old_secret_made_is_refused(self, with_secrets):
        both = with_secrets(NEW, OLD)
        again = at(both, visitor(with_secrets(OLD), who="alice"))
        again.do(put(a=1))
        forged = forged_record(again.session_id, {"who": "admin"}, now=1_800_000_000, secret=OLD)
        plant_record(both, again.session_id, forged)
        assert at(with_secrets(NEW), again).data() == {}
