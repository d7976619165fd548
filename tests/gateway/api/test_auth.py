"""Who may ask: keys and tokens of an app, of this region, for what they are for."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from gateway.api import auth
from gateway.apps import app as apps
from gateway.apps.api_keys import new_key
from gateway.apps.app import create_app
from gateway.security import tokens
from gateway.store.directory import seal_app
from tests.gateway.api.calling import Calling, calling, code_of, core_of
from tests.harness import FakeClock, make_settings, until

READ = "/v1/conversations/d:alice:bob/messages"


async def asked_with(api: Calling, secret: str | None, status: int) -> str:
    """The code of a read with these credentials; "" where it is done."""
    headers = {"authorization": "" if secret is None else f"Bearer {secret}"}
    answer = await api.ask("GET", READ, headers=headers)
    if status == 200:
        assert answer.status_code == 200, answer.text
        return ""
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "hpk_" not in answer.text.replace("Bearer hpk_…", "")
    return code_of(answer, status)


def app_token(api: Calling, **claims: object) -> str:
    """A token of the app for the API, with `claims` instead of its own."""
    assert api.running.clock is not None
    now = int(api.running.clock.now)
    right = {"iss": api.app.id, "aud": "homeport:sg:rest", "iat": now, "exp": now + 60}
    made = {"sub": api.app.id, **right, **claims}
    return jwt.encode(made, api.app.certificates[0], "HS256")


async def test_a_key_opens_what_it_is_for(api: Calling) -> None:
    """A key to read sends nothing, and says which scope it lacks."""
    reading = await api.new_key(["read"])
    assert await asked_with(api, reading, 200) == ""
    api.http.headers["authorization"] = f"Bearer {reading}"
    refused = await api.send()
    assert code_of(refused, 403) == "scope_missing"
    assert refused.json()["scope"] == "send"


async def test_what_opens_nothing(api: Calling) -> None:
    """No credentials, those of another scheme, a key of nobody, one with a letter changed."""
    assert await asked_with(api, None, 401) == "token_missing"
    basic = await api.ask("GET", READ, headers={"authorization": "Basic YTpi"})
    assert code_of(basic, 401) == "token_missing"
    assert await asked_with(api, "hpk_sg_short", 401) == "token_malformed"
    last = "0" if api.key[-1] != "0" else "1"
    assert await asked_with(api, api.key[:-1] + last, 401) == "key_unknown"
    assert await asked_with(api, api.key.replace("hpk_sg", "hpk_eu"), 401) == "key_unknown"
    unknown, _ = new_key("sg", "02" + "0" * 30, "", ["read"], 0)
    assert await asked_with(api, unknown, 401) == "unknown_app"


async def test_a_key_of_another_app_opens_its_own(api: Calling) -> None:
    """G8: whoever it is of is in the key, and never in the request."""
    await api.send()
    other = create_app("other", "sg", "pro", "global", 0)
    async with core_of(api.running).admin() as admin:
        await admin.apps.create(other, 0)
    key = await api.new_key(app=other)
    there = await api.ask("GET", READ, headers={"authorization": f"Bearer {key}"})
    assert (there.status_code, there.json()["items"]) == (200, [])


async def test_an_app_of_another_region_is_told_where_it_lives(
    redis_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """G6: misdirected, with the region and, where it is known, its URL."""
    settings = make_settings(
        redis_url,
        tmp_path,
        api_directory={"eu": "https://api.eu.example"},
    )
    async with calling(settings, clock) as api:
        for region, url in (("eu", "https://api.eu.example"), ("na", None)):
            app = create_app("x", region, "pro", "global", 0)
            key, _ = new_key(region, app.id, "", ["read"], 0)
            answer = await api.ask("GET", READ, headers={"authorization": f"Bearer {key}"})
            assert code_of(answer, 421) == "wrong_region"
            assert (answer.json()["region"], answer.json().get("url")) == (region, url)
        about = (
            await api.ask("GET", "/.well-known/homeport", headers={"authorization": ""})
        ).json()
    assert (about["region"], about["regions"]["eu"]["api"]) == ("sg", "https://api.eu.example")


async def test_a_deleted_key_opens_nothing_within_a_second(api: Calling) -> None:
    """Also where the word of it was lost: what is known of an app is half a second old at most."""
    assert api.running.clock is not None
    assert auth.FRESH_S < 1
    key = await api.new_key(["read"])
    assert await asked_with(api, key, 200) == ""
    # By hand, and told to nobody.
    async with core_of(api.running).admin() as admin:
        app = await admin.apps.existing(api.app.id)
        record = seal_app(
            api.running.inside.sealer, apps.without_api_key(app, app.api_keys[-1].id), 0
        )
        await admin.link.call("SET", api.running.inside.keys.app(app.id), record)
    api.running.clock.advance(auth.FRESH_S)
    assert await asked_with(api, key, 401) == "key_unknown"
    assert await asked_with(api, api.key, 200) == ""


async def test_a_deleted_key_is_refused_at_once_where_the_word_comes(api: Calling) -> None:
    """The clock stands still, so only pub/sub can have brought it."""
    key = await api.new_key(["read"])
    assert await asked_with(api, key, 200) == ""
    async with core_of(api.running).admin() as admin:
        app = await admin.apps.existing(api.app.id)
        await admin.apps.delete_api_key(app.id, app.api_keys[-1].id, 0)

    async def refused() -> bool:
        headers = {"authorization": f"Bearer {key}"}
        return (await api.ask("GET", READ, headers=headers)).status_code == 401

    await until(refused)


async def test_a_token_of_the_app_opens_everything(api: Calling) -> None:
    """Without a key: the certificate, or a registered key, signs for the API's audience."""
    assert await asked_with(api, app_token(api), 200) == ""


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": "homeport:sg"}, "token_audience"),
        ({"aud": "homeport:eu:rest"}, "token_audience"),
        ({"exp": 1}, "token_expired"),
        ({"sub": "alice"}, "token_malformed"),
        ({"exp": "x"}, "token_malformed"),
    ],
)
async def test_a_token_that_is_for_something_else(
    api: Calling, claims: dict[str, object], code: str
) -> None:
    """One for a user's connection opens no API, and one of the past nothing."""
    assert await asked_with(api, app_token(api, **claims), 401) == code


async def test_a_users_token_is_none_of_the_app(api: Calling) -> None:
    """What every phone holds must not speak for the whole app."""
    assert api.running.clock is not None
    now = api.running.clock.now
    token = tokens.mint(api.app.id, api.app.certificates[0], "sg", "alice", now, 60)
    assert await asked_with(api, token, 401) == "token_audience"
